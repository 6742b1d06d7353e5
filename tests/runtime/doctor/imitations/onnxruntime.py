"""An imitation of ONNX Runtime on a machine without a GPU: the real one takes long to import."""

__version__ = "1.26.0"


def get_available_providers():
    return ["CPUExecutionProvider"]


class InferenceSession:
    """Of the doctor's small model."""

    def __init__(self, model, providers, enable_fallback):
        self.providers = providers

    def get_providers(self):
        return self.providers

    def run(self, outputs, feed):
        return [feed["x"] @ [[1, 0], [0, 1], [1, 1]]]

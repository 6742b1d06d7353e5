"""A fake ONNX Runtime on a machine without a GPU, since the real one is slow to import."""

__version__ = "1.26.0"


def get_available_providers():
    return ["CPUExecutionProvider"]


class InferenceSession:
    """A session of the doctor's small model."""

    def __init__(self, model, providers, enable_fallback):
        self.providers = providers

    def get_providers(self):
        return self.providers

    def run(self, outputs, feed):
        return [feed["x"] @ [[1, 0], [0, 1], [1, 1]]]

"""The bundle: one ONNX file that carries everything prediction needs."""

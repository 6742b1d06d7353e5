"""The bundle: one ONNX file with everything that prediction needs."""

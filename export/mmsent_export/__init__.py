"""Exports a run of mmsent to one verified ONNX bundle."""

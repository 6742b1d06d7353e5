"""ONNX Runtime: its providers, each on a small model."""

from __future__ import annotations

import base64

from mmsent.doctor.child import Tell

# y = x @ [[1, 0], [0, 1], [1, 1]], as the onnx package writes it; a test makes it anew.
MODEL = base64.b64decode(
    "CAg6bAoRCgF4CgF3EgF5IgZNYXRNdWwSBmRvY3RvciojCAMIAhABQgF3ShgAAIA/AAAAAAAAAAAAAIA/AACA"
    "PwAAgD9aFAoBeBIPCg0IARIJCgMSAW4KAggDYhQKAXkSDwoNCAESCQoDEgFuCgIIAkIECgAQDQ=="
)
INPUT = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
OUTPUT = [[4.0, 5.0], [10.0, 11.0]]

_REMOTE = "AzureExecutionProvider"  # computes elsewhere


def probe(tell: Tell) -> None:
    """Import onnxruntime and run the model on each available provider."""
    tell(doing="importing onnxruntime")
    try:
        import numpy as np
        import onnxruntime as ort
    except Exception as error:
        tell(import_error=f"{type(error).__name__}: {error}")
        return
    providers = ort.get_available_providers()
    tell(version=ort.__version__, providers=providers, file=ort.__file__)
    if cuda := getattr(ort, "cuda_version", ""):
        tell(cuda=cuda, doing="loading CUDA and cuDNN")
        ort.preload_dlls()
    results: dict[str, str] = {}
    for provider in providers:
        if provider == _REMOTE:
            continue
        tell(doing=f"computing with {provider}")
        try:
            session = ort.InferenceSession(MODEL, providers=[provider])
            if provider not in session.get_providers():
                results[provider] = "not loaded"  # it says why on stderr, and takes the CPU
            else:
                (output,) = session.run(None, {"x": np.asarray(INPUT, np.float32)})
                results[provider] = "right" if output.tolist() == OUTPUT else "wrong"
        except Exception as error:
            results[provider] = f"{type(error).__name__}: {error}"
        tell(results=results)

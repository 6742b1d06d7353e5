"""mmsent: classify posts of a text and an image with one portable ONNX file.

>>> from mmsent import SentimentModel
>>> SentimentModel("model.onnx").predict(text="what a day", image="photo.jpg").label
'positive'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmsent.errors import InputError, MmsentError

if TYPE_CHECKING:
    from mmsent.predict.explain.explanation import Explanation
    from mmsent.predict.model import Prediction, SentimentModel

__version__ = "0.2.0"
__all__ = [
    "Explanation",
    "InputError",
    "MmsentError",
    "Prediction",
    "SentimentModel",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import the model, and with it ONNX Runtime, only when it is used."""
    if name in ("Explanation", "Prediction", "SentimentModel"):
        from mmsent.predict import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

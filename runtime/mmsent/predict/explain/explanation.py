"""An explanation as data: the result of `SentimentModel.explain`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from mmsent.data.pair import Part

Input = Literal["text", "image", "neither"]
"""The inputs that are predicted: the pair, only its text, only its image, or neither."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, or a group of neighbouring words, and its value.

    ``start`` and ``end`` count code points.
    """

    start: int
    end: int
    text: str
    value: float


@dataclass(frozen=True)
class Explanation:
    """What moved a prediction: what changes it when left out, not why the label is right.

    All values are differences of log-odds, natural logarithms of p / (1 - p), where p is the
    probability of a label. Positive values support the label.

    ``label``, ``probabilities``: the prediction.
    ``log_odds``: of each label, for "both" (the pair), "text" (alone), "image" (alone), "neither".
    ``modalities``: for "text" and "image", the exact Shapley value for each label: half of what the
    modality adds to the other one plus half of what it adds to nothing. The two add up to the
    log-odds of "both" minus those of "neither".
    ``foreign``: those of "text", "image" and "neither" that the model was not trained on. Its
    prediction for them is a guess, and so are the modalities' values.
    ``words``: of the text, in order, with their values for ``label``: the log-odds of the pair
    minus those of the pair without the word. Groups of words if the budget is too small.
    ``read``: the number of characters of ``text`` that the model reads; the rest has no words.
    ``regions``: of the image, grid x grid from the top left: the value of each cell's patch for
    ``label``; None if there is no image. `smooth_map` interpolates them.
    ``runs``: the number of computed predictions, at most ``budget``.
    ``view``: the part of the image that the model sees, for pictures.
    """

    label: str
    probabilities: dict[str, float]
    log_odds: dict[str, dict[str, float]]
    modalities: dict[Part, dict[str, float]]
    foreign: tuple[Input, ...]
    text: str
    read: int
    words: tuple[Word, ...]
    regions: tuple[tuple[float, ...], ...] | None
    runs: int
    budget: int
    view: Image.Image | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but ``view``, in types that JSON has."""
        words = [
            {"start": word.start, "end": word.end, "text": word.text, "value": word.value}
            for word in self.words
        ]
        regions = None if self.regions is None else [list(row) for row in self.regions]
        content = {name: value for name, value in vars(self).items() if name != "view"}
        return content | {"foreign": list(self.foreign), "words": words, "regions": regions}

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

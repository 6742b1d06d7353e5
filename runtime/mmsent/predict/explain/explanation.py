"""An explanation as data: what `SentimentModel.explain` gives."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from mmsent.data.pair import Part

Input = Literal["text", "image", "neither"]
"""What is predicted besides the pair: its text alone, its image alone, or neither."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, or a group of neighbours: its characters, and what they are worth.

    ``start`` and ``end`` count code points.
    """

    start: int
    end: int
    text: str
    value: float


@dataclass(frozen=True)
class Explanation:
    """What moved a prediction: not why it is so, but what changes it when it is left out.

    All values are differences of log-odds, natural logarithms of p / (1 - p), where p is the
    probability of a label. Positive ones spoke for the label.

    ``label``, ``probabilities``: the prediction.
    ``log_odds``: of each label, for "both" (the pair), "text" (alone), "image" (alone), "neither".
    ``modalities``: for "text" and "image", of each label, the exact Shapley value: half of what the
    modality adds to the other one plus half of what it adds to nothing. The two add up to the
    log-odds of "both" less those of "neither".
    ``foreign``: those of "text", "image" and "neither" that the model was not trained on; what it
    predicts there is a guess, and so are the modalities' values.
    ``words``: of the text, in its order, what each is worth for ``label``: the log-odds of the pair
    less those of the pair without the word. Groups of words where the budget is too small.
    ``read``: how many characters of ``text`` the model reads; what is cut off has no words.
    ``regions``: of the image, [grid][grid] from the top left, what each cell's patch is worth for
    ``label``; None where there is no image. `smooth_map` draws them.
    ``runs`` predictions were computed, of at most ``budget``.
    ``view`` is what the model looks at of the image, for pictures.
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
        """All but ``view``, in what JSON has."""
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

"""Explain a prediction by occlusion: predict the pair again without parts of it.

This needs no gradients, which an ONNX graph does not provide. The algorithm, so that it can be
implemented in other languages:

1. `read_words` finds the words that the model reads. The text ends after them.
2. The number of word groups and of cells follows from the budget: see `_divide`.
3. The runs, in this order: the pair; the text with a missing image; an empty text with the image;
   an empty text with a missing image; the text without each group of words, from the first; the
   text with the image whose patch of each cell is hidden, row by row. Equal runs are computed once.
4. The log-odds of label k in a run with the logits z: ``z[k] - log(sum(exp(z[j]) for j != k))``,
   in double precision.
5. All values are differences of those: see `Explanation`.

Sources: occlusion of images, Zeiler and Fergus 2014; of words, Li et al. 2016; the two modalities
as players of a Shapley game, MM-SHAP, Parcalabescu and Frank 2023.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import exp, isqrt, log

from PIL import Image

from mmsent.data.pair import Part
from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings, missing_image
from mmsent.predict.batches import (
    BATCH_SIZE,
    Batch,
    Model,
    Outcome,
    Pixels,
    Prediction,
    predict_batch,
    predict_window,
)
from mmsent.predict.explain.explanation import Explanation, Input, Word
from mmsent.predict.explain.patches import hide_patch
from mmsent.predict.explain.words import Span, group, read_words, without

GRID = 7
MAX_GRID = 32
BUDGET = 128
MIN_BUDGET = 8

Run = tuple[str, int]
"""A text, and the visible part of the image: `SHOWN`, `HIDDEN`, or all but a cell's patch."""
SHOWN, HIDDEN = -1, -2


@dataclass(frozen=True)
class Plan:
    """The predictions that explain one pair.

    ``groups``: the first word of each group, and that of the next one; there are ``side`` x
    ``side`` cells. ``players``: the runs for the modalities; ``texts``: those for the groups;
    ``patches``: those for the cells.
    """

    read: str
    words: list[Span]
    groups: list[tuple[int, int]]
    side: int
    players: dict[str, Run]
    texts: list[Run]
    patches: list[Run]

    @property
    def runs(self) -> list[Run]:
        """All distinct runs, in order."""
        return list(dict.fromkeys([*self.players.values(), *self.texts, *self.patches]))


def explain_pair(
    model: Model,
    text: str,
    pixels: Pixels | None,
    *,
    image: ImageSettings,
    optional: Collection[Part],
    grid: int = GRID,
    budget: int = BUDGET,
    batch_size: int = BATCH_SIZE,
    view: Image.Image | None = None,
) -> Explanation:
    """Explain the prediction for a text and ``pixels``, uint8 [size, size, 3].

    A missing text is "", a missing image is None. ``image`` and ``optional`` are the bundle's. At
    most ``budget`` runs are computed. If that does not suffice for every word and ``grid`` x
    ``grid`` cells, neighbouring words are grouped and there are fewer cells.
    Raises InputError if ``grid`` is not 1 to MAX_GRID, or ``budget`` is less than MIN_BUDGET.
    """
    if not 1 <= grid <= min(MAX_GRID, image.size):
        raise InputError(f"the grid must be 1 to {min(MAX_GRID, image.size)}, not {grid}")
    if budget < MIN_BUDGET:
        raise InputError(f"the budget must be at least {MIN_BUDGET} predictions, not {budget}")
    plan = _plan(model, text, grid if pixels is not None else 0, budget)
    missing = missing_image(image)
    runs = plan.runs

    def see(run: Run) -> Pixels:
        hidden = run[1]
        if pixels is None or hidden == HIDDEN:
            return missing
        return (
            pixels if hidden == SHOWN else hide_patch(pixels, *divmod(hidden, plan.side), plan.side)
        )

    def predict(batch: Batch) -> list[Outcome | None]:
        return predict_batch(model, batch, (see(runs[index]) for index in batch.indices))

    outcomes = predict_window(model, [run[0] for run in runs], predict, batch_size=batch_size)
    found = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    odds = {run: log_odds(prediction.logits) for run, prediction in zip(runs, found)}
    label = found[0].label
    pair = odds[runs[0]][label]

    def value(run: Run) -> float:
        return pair - odds[run][label]

    players = {name: odds[run] for name, run in plan.players.items()}
    patches = [value(run) for run in plan.patches]
    side = plan.side
    return Explanation(
        label=label,
        probabilities=found[0].probabilities,
        log_odds=players,
        modalities={"text": shapley("text", players), "image": shapley("image", players)},
        foreign=_foreign(optional),
        text=text,
        read=len(plan.read),
        words=tuple(
            _word(text, plan.words[first:last], value(run))
            for (first, last), run in zip(plan.groups, plan.texts)
        ),
        regions=tuple(tuple(patches[i * side : (i + 1) * side]) for i in range(side))
        if side
        else None,
        runs=len(runs),
        budget=budget,
        view=view,
    )


def shapley(modality: Part, log_odds: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The Shapley values of a modality for each label, from the log-odds of the four inputs.

    The modality can come first or second, and both orders count half: what it adds to nothing, and
    what it adds to the other one.
    """
    both, neither = log_odds["both"], log_odds["neither"]
    alone, other = log_odds[modality], log_odds["image" if modality == "text" else "text"]
    return {
        label: ((alone[label] - neither[label]) + (both[label] - other[label])) / 2
        for label in both
    }


def log_odds(logits: Mapping[str, float]) -> dict[str, float]:
    """The natural logarithm of p / (1 - p) for each label, without loss if p is close to 1."""
    return {label: value - _log_sum(logits, label) for label, value in logits.items()}


def _log_sum(logits: Mapping[str, float], but: str) -> float:
    """log(sum(exp(z))) over all logits but one."""
    others = [value for label, value in logits.items() if label != but]
    largest = max(others)
    return largest + log(sum(exp(value - largest) for value in others))


def _plan(model: Model, text: str, grid: int, budget: int) -> Plan:
    """Plan the runs; ``grid`` is 0 if the image is missing.

    The words get what the cells leave of the budget, but at least half of it; then the cells get
    the largest grid that fits.
    """
    read, words = read_words(text, model.tokenize)
    left = budget - 4
    count = min(len(words), max(left - grid * grid, left // 2) if grid else left)
    side = min(grid, isqrt(left - count))
    image = SHOWN if grid else HIDDEN
    groups = group(words, count)
    return Plan(
        read,
        words,
        groups,
        side,
        {
            "both": (read, image),
            "text": (read, HIDDEN),
            "image": ("", image),
            "neither": ("", HIDDEN),
        },
        [(without(read, words, *places), image) for places in groups],
        [(read, cell) for cell in range(side * side)],
    )


def _word(text: str, words: list[Span], value: float) -> Word:
    start, end = words[0].start, words[-1].end
    return Word(start, end, text[start:end], value)


def _foreign(optional: Collection[Part]) -> tuple[Input, ...]:
    """The inputs that the model was not trained on: modality dropout never removes both parts."""
    alone: tuple[tuple[Input, Part], ...] = (("text", "image"), ("image", "text"))
    return (*(kept for kept, lost in alone if lost not in optional), "neither")

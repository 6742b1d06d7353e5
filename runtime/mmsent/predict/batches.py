"""Sort by length, batch, run and restore the order: everything that predicts uses this.

A batch contains texts of similar length, so it has little padding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mmsent.data.pair import Pair
from mmsent.errors import MmsentError, Problem
from mmsent.inputs.image import ImageSettings

R = TypeVar("R")
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label and the probability of each label; they add up to 1.

    ``logits``: the probabilities are their softmax. They are calibrated: the temperature that the
    training found is in the bundle's graph. No output file contains them.
    ``embedding``: the fused features of text and image, float32 [features], if they were asked for.
    """

    label: str
    probabilities: dict[str, float]
    logits: dict[str, float]
    embedding: Floats | None = field(default=None, compare=False, repr=False)


Outcome = Prediction | Problem


@dataclass(frozen=True, slots=True)
class Batch:
    """Some texts of a window: their indices in it, and their token ids."""

    indices: list[int]
    ids: list[list[int]]


class Model(Protocol):
    """The model that predicts batches: a SentimentModel."""

    labels: tuple[str, ...]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]: ...
    def run(self, ids: Sequence[Sequence[int]], pixels: Pixels) -> tuple[Floats, Floats]: ...
    def run_with_embeddings(
        self, ids: Sequence[Sequence[int]], pixels: Pixels
    ) -> tuple[Floats, Floats, Floats]: ...


class Map(Protocol):
    """The built-in map, or the method of an Executor, which starts the work immediately."""

    def __call__(self, function: Callable[[Batch], R], batches: Iterable[Batch], /) -> Iterable[R]:
        """The result of ``function`` for each batch, in order."""


def predict_window(
    model: Model,
    texts: Sequence[str | Problem],
    predict: Callable[[Batch], Sequence[R]],
    *,
    batch_size: int = BATCH_SIZE,
    map: Map = map,
) -> Iterator[R | Problem]:
    """The results of ``predict`` for ``texts``, in their order; problems stay as they are.

    ``predict`` gets one batch at a time, with texts of similar length, and returns an outcome for
    each. This function calls ``map`` before it returns, but waits for its results only when the
    outcomes are requested. With an Executor's ``map``, several windows can be in progress.
    """
    readable = [index for index, text in enumerate(texts) if isinstance(text, str)]
    ids = dict(zip(readable, model.tokenize([str(texts[index]) for index in readable])))
    by_length = sorted(readable, key=lambda index: len(ids[index]))
    chunks = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    batches = [Batch(chunk, [ids[index] for index in chunk]) for chunk in chunks]
    results = map(predict, batches)

    def in_order() -> Iterator[R | Problem]:
        outcomes: dict[int, R | Problem] = {
            i: text for i, text in enumerate(texts) if isinstance(text, Problem)
        }
        for batch, result in zip(batches, results):
            outcomes |= zip(batch.indices, result)
        yield from (outcomes[index] for index in range(len(texts)))

    return in_order()


def predict_batch(
    model: Model,
    batch: Batch,
    pixels: Iterable[Pixels | Problem],
    *,
    broken: Event | None = None,
    embeddings: bool = False,
) -> list[Outcome | None]:
    """Predict the pairs of a batch that have pixels, uint8 [size, size, 3]; keep the problems.

    Without ``broken``, every pair has an outcome. With it, the first problem sets it, and nothing
    is computed from then on: the outcome of a pair without a problem is None. ``embeddings``:
    whether the predictions have them.
    Raises MmsentError if the bundle fails.
    """
    outcomes: list[Outcome | None] = []
    sound: dict[int, Pixels] = {}
    for place, item in enumerate(pixels):
        outcomes.append(item if isinstance(item, Problem) else None)
        if not isinstance(item, Problem):
            sound[place] = item
    if broken and len(sound) < len(outcomes):
        broken.set()
    if sound and not (broken and broken.is_set()):
        ids = [batch.ids[place] for place in sound]
        run = model.run_with_embeddings if embeddings else model.run
        outputs = run(ids, np.stack(list(sound.values())))
        for place, prediction in zip(sound, _predictions(model.labels, *outputs)):
            outcomes[place] = prediction
    return outcomes


def load_pixels(pair: Pair, settings: ImageSettings) -> Pixels | Problem:
    """A pair's image as the model takes it, grey if it is missing, or the problem with it."""
    return pair.attempt("image", lambda: pair.load_image(settings))


def _predictions(
    labels: Sequence[str], logits: Floats, probabilities: Floats, embeddings: Floats | None = None
) -> Iterator[Prediction]:
    """Name the columns of ``logits`` and ``probabilities``, float32 [batch, labels].

    ``embeddings``: float32 [batch, features].
    """
    outputs = (probabilities,) if embeddings is None else (probabilities, embeddings)
    if not all(np.isfinite(values).all() for values in outputs):
        raise MmsentError("the bundle returns NaN; `mmsent doctor --model FILE` checks it")
    for index, (scores, row) in enumerate(zip(logits, probabilities)):
        shares, logit = (dict(zip(labels, values.tolist())) for values in (row, scores))
        embedding = None if embeddings is None else embeddings[index]
        yield Prediction(labels[int(row.argmax())], shares, logit, embedding)

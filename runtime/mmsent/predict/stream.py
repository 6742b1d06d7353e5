"""Predict a list while it is read, in its order and in constant memory.

Each worker takes a batch from files to probabilities on one core, so that one worker decodes while
another computes. Batches are formed by length within a window of rows, and two windows are in
progress at a time.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from threading import Event
from typing import cast

from mmsent.data.pair import Pair
from mmsent.errors import Problem
from mmsent.inputs.coverage import Coverage
from mmsent.predict.batches import (
    BATCH_SIZE,
    Batch,
    Outcome,
    load_pixels,
    predict_batch,
    predict_window,
)
from mmsent.predict.journal import Journal
from mmsent.predict.missing import load_text
from mmsent.predict.model import SentimentModel

WINDOW_BYTES = 1 << 28  # stored in the list; contents of files are limited anyway


def predict_stream(
    model: SentimentModel,
    rows: Iterable[Pair | Problem],
    *,
    workers: int,
    batch_size: int = BATCH_SIZE,
    skip: bool = False,
    start: int = 0,
    journal: Journal | None = None,
    coverage: Coverage | None = None,
    embeddings: bool = False,
) -> Generator[tuple[Pair | Problem, Outcome | None], None, None]:
    """Yield each row in order with its prediction or its problem.

    Unless ``skip`` is set, the other rows are only checked after the first problem, and some of
    them yield None. ``model`` should use one thread, since ``workers`` batches run in parallel.
    Finished batches are recorded in ``journal``, and not computed if they are already there;
    ``start``: the number of rows of the list before ``rows``. ``coverage`` counts the tokens.
    ``embeddings``: whether the predictions have them.
    """
    broken = None if skip else Event()

    def predict(
        first: int, items: Sequence[Pair | Problem], batch: Batch
    ) -> Sequence[Outcome | None]:
        pairs = [(first + index, cast(Pair, items[index])) for index in batch.indices]
        if coverage:
            coverage.add(batch.ids)
        if journal and (known := journal.find(pairs)):
            return known
        pixels = (load_pixels(pair, model.info.image) for _, pair in pairs)
        outcomes = predict_batch(model, batch, pixels, broken=broken, embeddings=embeddings)
        done = [outcome for outcome in outcomes if outcome is not None]
        if journal and len(done) == len(outcomes):
            journal.add(first, pairs, done)
        return outcomes

    rows = iter(rows)
    in_work: deque[Iterator[tuple[Pair | Problem, Outcome | None]]] = deque()
    window = batch_size * max(8, 2 * workers)
    pool = ThreadPoolExecutor(workers)
    try:
        while items := _take(rows, window):
            texts = [
                item if isinstance(item, Problem) else load_text(item, model.info) for item in items
            ]
            if broken and any(isinstance(text, Problem) for text in texts):
                broken.set()
            outcomes = predict_window(
                model, texts, partial(predict, start, items), batch_size=batch_size, map=pool.map
            )
            in_work.append(zip(items, outcomes))
            start += len(items)
            if len(in_work) > 1:
                yield from in_work.popleft()
        while in_work:
            yield from in_work.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _take(rows: Iterator[Pair | Problem], count: int) -> list[Pair | Problem]:
    """The next ``count`` rows, or fewer if they have more than WINDOW_BYTES."""
    items: list[Pair | Problem] = []
    size = 0
    for item in islice(rows, count):
        items.append(item)
        size += item.size if isinstance(item, Pair) else 0
        if size > WINDOW_BYTES:
            break
    return items

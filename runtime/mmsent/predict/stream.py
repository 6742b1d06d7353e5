"""Predicting a list as it is read: in its order, in memory that its length does not change.

Every worker takes a batch and carries it from files to probabilities on one core, so that one
decodes while another computes and no core waits for a neighbour. Batches are formed by length
within a window of rows, and two windows are in work at a time.
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

WINDOW_BYTES = 1 << 28  # what the rows of a window may hold; in files it is bounded anyhow


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
) -> Generator[tuple[Pair | Problem, Outcome | None], None, None]:
    """Yield every row in order with its prediction, or with what is wrong with it or its files.

    After the first problem, unless ``skip``, the other rows are only checked, and some of them
    yield None. ``model`` should compute on one thread, since ``workers`` batches run side by side.
    Finished batches go into ``journal``, and those it knows are not computed; ``start`` rows of the
    list come before ``rows``. ``coverage`` counts the tokens.
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
        outcomes = predict_batch(model, batch, pixels, broken=broken)
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
    """The next ``count`` rows, or fewer where those hold more than WINDOW_BYTES."""
    items: list[Pair | Problem] = []
    size = 0
    for item in islice(rows, count):
        items.append(item)
        size += item.size if isinstance(item, Pair) else 0
        if size > WINDOW_BYTES:
            break
    return items

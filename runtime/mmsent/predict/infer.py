"""Predicting a whole list: streamed, in the list's order, in memory that its length doesn't change.

Every worker takes a batch and carries it from files to probabilities on one core, so that one
decodes while another computes and no core waits for a neighbour. Batches are formed by length
within a window of rows, and two windows are under way at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event
from typing import cast

import numpy as np

from mmsent import __version__
from mmsent.data.dataset import (
    Row,
    check_files,
    image_of,
    image_place,
    is_parquet,
    read_list,
    text_of,
    text_place,
)
from mmsent.errors import InputError, MmsentError, Problem, refuse
from mmsent.files.interrupt import stop_on_signals
from mmsent.files.lock import locked
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import load_image
from mmsent.predict.journal import Journal, Numbered, Outcome
from mmsent.predict.model import BATCH_SIZE, Prediction, SentimentModel
from mmsent.predict.output import Output

WINDOW_BYTES = 1 << 28  # what the rows of a window may bring along; in files it is bounded anyhow


@dataclass(frozen=True)
class Counts:
    """How many rows a list had, and how many of them could not be predicted."""

    rows: int
    failed: int


def infer(
    list_path: Path,
    model_path: Path,
    output: Path,
    *,
    folder: Path | None = None,
    probabilities: bool = False,
    skip: bool = False,
    resume: bool = False,
    workers: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> Counts:
    """Predict every row of a list into ``output``.

    The list is CSV or a Parquet file. ``folder`` is the dataset folder (default: the list's).
    ``output`` is CSV (guid,tag, with ``probabilities`` also a column per label), JSON lines where
    its name ends in .jsonl, or Parquet where it ends in .parquet.
    Raises InputError that names every bad row and file; then ``output`` is left as it was. With
    ``skip`` they go to OUTPUT.errors.csv instead, each row into one of the two.
    With ``resume`` an inference that was interrupted goes on; Interrupted says that it can.
    """
    folder = folder or list_path.parent
    workers = workers or available_cores()
    batch_size = batch_size or BATCH_SIZE
    check_output(output, list_path, model_path)
    again = "the same command with --resume goes on"
    busy = f"another inference is writing {output}"
    with locked(output.with_name(f".{output.name}.lock"), busy):
        count = _check(list_path, folder, files=not skip)
        model = SentimentModel(model_path, threads=1, device=device)
        key = {
            "mmsent": __version__,
            "list": str(list_path.resolve()),
            "folder": str(folder.resolve()),
            "model": model.identity,
            "options": [probabilities, skip, device],
        }
        out = Output(output, labels=model.labels if probabilities else (), skip=skip)
        problems: list[Problem] = []
        try:
            with (
                stop_on_signals(again) as stoppable,
                out.open(key, read_items(list_path, contents=False), resume=resume),
                Progress("predicting", count - out.written, "pairs") as progress,
            ):
                rows = predict_rows(
                    model,
                    read_items(list_path, start=out.written),
                    folder,
                    list_path.name,
                    workers=workers,
                    batch_size=batch_size,
                    skip=skip,
                    start=out.written,
                    journal=out.journal,
                )
                with closing(rows):
                    for row, outcome in stoppable(rows):
                        if isinstance(row, Row) and isinstance(outcome, Prediction):
                            out.write(row, outcome)
                        elif isinstance(outcome, Problem) and skip:
                            out.write_problem(outcome)
                        elif isinstance(outcome, Problem):
                            problems.append(outcome)
                        progress.update()
                refuse(problems, f"{output} was not written")
        except OSError as error:
            reason = f"{error.filename or output}: {error.strerror or error}"
            raise MmsentError(f"{reason}; when that is mended, {again}") from None
    return Counts(out.written, out.failed)


def check_output(output: Path, *inputs: Path) -> None:
    """Raises InputError where ``output`` is an input, or something else than a file."""
    if output.exists() and not output.is_file():
        raise InputError(f"{output} is not a regular file; --output names one")
    if any(output.exists() and path.exists() and output.samefile(path) for path in inputs):
        raise InputError(f"{output} is an input, too; name another --output")


def read_items(
    list_path: Path, *, start: int = 0, contents: bool = True
) -> Iterator[Row | Problem]:
    """The rows of a list in its order from ``start``, the bad ones as what is wrong with them.

    Without ``contents`` rows of a Parquet file come without their texts and images.
    """
    problems: list[Problem] = []
    if is_parquet(list_path):
        from mmsent.data.parquet import read_parquet

        rows = read_parquet(list_path, problems, contents=contents, start=start)
        yield from _in_order(rows, problems)
    else:
        yield from islice(_in_order(read_list(list_path, problems), problems), start, None)


def _in_order(rows: Iterable[Row], problems: list[Problem]) -> Iterator[Row | Problem]:
    for row in rows:
        yield from problems
        problems.clear()
        yield row
    yield from problems


def _check(list_path: Path, folder: Path, *, files: bool) -> int:
    """The number of rows; InputError where the list or, with ``files``, anything else is bad."""
    if not files:
        return sum(1 for _ in read_items(list_path, contents=False))
    problems: list[Problem] = []
    rows = read_list(list_path, problems)
    count = 0
    for item in check_files(rows, folder, list_path.name):
        if isinstance(item, Problem):
            problems.append(item)
        count += 1
    refuse(problems, "nothing was predicted")
    return count


def predict_rows(
    model: SentimentModel,
    rows: Iterable[Row | Problem],
    folder: Path,
    list_name: str,
    *,
    workers: int,
    batch_size: int = BATCH_SIZE,
    skip: bool = False,
    start: int = 0,
    journal: Journal | None = None,
) -> Generator[tuple[Row | Problem, Outcome | None], None, None]:
    """Yield every row in order with its prediction, or with what is wrong with it or its files.

    After the first problem, unless ``skip``, the other rows are only checked, and some of them
    yield None. ``model`` should compute on one thread, since ``workers`` batches run side by side.
    ``journal`` is told of finished batches, and asked before one is computed; ``start`` rows of
    the list stand before ``rows``.
    """
    broken = Event()

    def predict(
        first: int, batch: Sequence[Numbered], ids: Sequence[list[int]]
    ) -> Sequence[Outcome | None]:
        if journal and (known := journal.find(batch)):
            return known
        size = model.info.image.size
        pixels = np.empty((len(batch), size, size, 3), np.uint8)
        outcomes: list[Outcome | None] = [None] * len(batch)
        whole: list[int] = []
        for index, (_, row) in enumerate(batch):
            try:
                image = image_of(folder, row)
                pixels[len(whole)] = load_image(image, model.info.image)
                whole.append(index)
            except InputError as error:
                file = image_place(folder, row, list_name)
                outcomes[index] = Problem(list_name, row.line, row.guid, file, str(error))
        if len(whole) < len(batch) and not skip:
            broken.set()
        if whole and not broken.is_set():
            _, probabilities = model.run([ids[i] for i in whole], pixels[: len(whole)])
            for index, prediction in zip(whole, model.to_predictions(probabilities)):
                outcomes[index] = prediction
        done = [outcome for outcome in outcomes if outcome is not None]
        if journal and not broken.is_set() and len(done) == len(batch):
            journal.add(first, batch, done)
        return outcomes

    rows = iter(rows)
    under_way: deque[_Window] = deque()
    window = batch_size * max(8, 2 * workers)
    pool = ThreadPoolExecutor(workers)
    try:
        while items := _take(rows, window):
            texts = [_read_text(item, folder, list_name) for item in items]
            readable = [index for index, text in enumerate(texts) if isinstance(text, str)]
            if len(readable) < len(items) and not skip:
                broken.set()
            encoded = model.encode([str(texts[index]) for index in readable])
            ids = dict(zip(readable, encoded))
            by_length = sorted(readable, key=lambda index: len(ids[index]))
            batches = [by_length[i : i + batch_size] for i in range(0, len(readable), batch_size)]
            futures = [
                pool.submit(
                    predict,
                    start,
                    [(start + i, cast(Row, items[i])) for i in batch],
                    [ids[i] for i in batch],
                )
                for batch in batches
            ]
            outcomes: list[Outcome | None] = [
                None if isinstance(text, str) else text for text in texts
            ]
            under_way.append((items, outcomes, batches, futures))
            start += len(items)
            if len(under_way) > 1:
                yield from _outcomes(under_way.popleft())
        while under_way:
            yield from _outcomes(under_way.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _take(rows: Iterator[Row | Problem], count: int) -> list[Row | Problem]:
    """The next ``count`` rows, or fewer where those bring more than WINDOW_BYTES along."""
    items: list[Row | Problem] = []
    size = 0
    for item in islice(rows, count):
        items.append(item)
        if isinstance(item, Row) and item.packed is not None:
            size += len(item.packed.image or b"") + len(item.packed.text or b"")
            if size > WINDOW_BYTES:
                break
    return items


_Window = tuple[
    list[Row | Problem],
    list[Outcome | None],
    list[list[int]],
    list[Future[Sequence[Outcome | None]]],
]


def _outcomes(window: _Window) -> Iterator[tuple[Row | Problem, Outcome | None]]:
    """Wait for a window's batches and put their outcomes back into the order of its rows."""
    items, outcomes, batches, futures = window
    for batch, future in zip(batches, futures):
        for index, outcome in zip(batch, future.result()):
            outcomes[index] = outcome
    return zip(items, outcomes)


def _read_text(item: Row | Problem, folder: Path, list_name: str) -> str | Problem:
    if isinstance(item, Problem):
        return item
    try:
        return text_of(folder, item)[0]
    except InputError as error:
        file = text_place(folder, item, list_name)
        return Problem(list_name, item.line, item.guid, file, str(error))

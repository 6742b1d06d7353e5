"""Predicting a whole list: streamed, in the list's order, in memory that its length doesn't change.

Every worker takes a batch and carries it from files to probabilities on one core, so that one
decodes while another computes and no core waits for a neighbour. Batches are formed by length
within a window of rows, and two windows are under way at a time.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TextIO

import numpy as np

from mmsent.atomic import atomic_path
from mmsent.dataset import Row, check_files, image_file, read_list, read_text
from mmsent.errors import InputError, Problem, refuse
from mmsent.image import load_image
from mmsent.machine import available_cores
from mmsent.model import BATCH_SIZE, Prediction, SentimentModel
from mmsent.progress import Progress

Outcome = Prediction | Problem | None
Writer = Callable[[str, Prediction], None]


def infer(
    list_path: Path,
    model_path: Path,
    output: Path,
    *,
    folder: Path | None = None,
    probabilities: bool = False,
    workers: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> int:
    """Predict every row of a list into ``output``; returns their number.

    ``folder`` is the dataset folder (default: the list's). ``output`` is CSV (guid,tag, with
    ``probabilities`` also a column per label), or JSON lines where its name ends in .jsonl.
    Raises InputError that names every bad row and file; then ``output`` is left as it was.
    """
    folder = folder or list_path.parent
    workers = workers or available_cores()
    problems: list[Problem] = []
    count = 0
    for item in check_files(read_list(list_path, problems), folder, list_path.name):
        if isinstance(item, Problem):
            problems.append(item)
        count += 1
    refuse(problems, "nothing was predicted")

    model = SentimentModel(model_path, threads=1, device=device)
    rows = read_list(list_path, problems)
    outcomes = predict_rows(
        model, rows, folder, list_path.name, workers=workers, batch_size=batch_size or BATCH_SIZE
    )
    with (
        atomic_path(output) as part,
        open(part, "w", encoding="utf-8", newline="") as file,
        Progress("predicting", count, "pairs") as progress,
    ):
        write = _writer(file, output.suffix == ".jsonl", model.labels if probabilities else ())
        for row, outcome in outcomes:
            if isinstance(outcome, Prediction):
                write(row.guid, outcome)
            elif outcome is not None:
                problems.append(outcome)
            progress.update()
        refuse(problems, f"{output} was not written")
    return count


def predict_rows(
    model: SentimentModel,
    rows: Iterable[Row],
    folder: Path,
    list_name: str,
    *,
    workers: int,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[Row, Outcome]]:
    """Yield every row in order with its prediction, or with what is wrong with its image.

    After the first problem the other rows are only checked, and some of them yield None.
    ``model`` should compute on one thread, since ``workers`` batches run side by side.
    """
    broken = Event()

    def predict(batch: Sequence[tuple[Row, list[int]]]) -> Sequence[Outcome]:
        size = model.info.image.size
        pixels = np.empty((len(batch), size, size, 3), np.uint8)
        faults: list[Outcome] = [None] * len(batch)
        for index, (row, _) in enumerate(batch):
            file = image_file(folder, row.guid)
            try:
                pixels[index] = load_image(file, model.info.image)
            except InputError as error:
                faults[index] = Problem(list_name, row.line, row.guid, file, str(error))
                broken.set()
        if broken.is_set():
            return faults
        _, probabilities = model.run([ids for _, ids in batch], pixels)
        return model.to_predictions(probabilities)

    rows = iter(rows)
    under_way: deque[_Window] = deque()
    with ThreadPoolExecutor(workers) as pool:
        while window_rows := list(islice(rows, batch_size * max(8, 2 * workers))):
            ids = model.encode([_read_text(row, folder, list_name) for row in window_rows])
            by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
            batches = [by_length[i : i + batch_size] for i in range(0, len(ids), batch_size)]
            futures = [
                pool.submit(predict, [(window_rows[i], ids[i]) for i in batch]) for batch in batches
            ]
            under_way.append((window_rows, batches, futures))
            if len(under_way) > 1:
                yield from _outcomes(under_way.popleft())
        while under_way:
            yield from _outcomes(under_way.popleft())


_Window = tuple[list[Row], list[list[int]], list[Future[Sequence[Outcome]]]]


def _outcomes(window: _Window) -> Iterator[tuple[Row, Outcome]]:
    """Wait for a window's batches and put their outcomes back into the order of its rows."""
    rows, batches, futures = window
    outcomes: list[Outcome] = [None] * len(rows)
    for batch, future in zip(batches, futures):
        for index, outcome in zip(batch, future.result()):
            outcomes[index] = outcome
    return zip(rows, outcomes)


def _read_text(row: Row, folder: Path, list_name: str) -> str:
    try:
        return read_text(folder, row.guid)[0]
    except InputError as error:  # it was whole when the list was checked
        raise InputError(
            f"{list_name} line {row.line} (guid {row.guid!r}): {error}; "
            "the dataset has changed since the start"
        ) from None


def _writer(file: TextIO, jsonl: bool, labels: Sequence[str]) -> Writer:
    """How a prediction is written; ``labels`` are those whose probabilities are wanted."""
    if jsonl:

        def write_json(guid: str, prediction: Prediction) -> None:
            fields: dict[str, object] = {"guid": guid, "tag": prediction.label}
            if labels:
                fields["probabilities"] = prediction.probabilities
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")

        return write_json

    table = csv.writer(file, lineterminator="\n")
    table.writerow(["guid", "tag", *labels])

    def write_csv(guid: str, prediction: Prediction) -> None:
        values = (f"{prediction.probabilities[label]:.7g}" for label in labels)
        table.writerow([guid, prediction.label, *values])

    return write_csv

"""Predicting every row of a list into a file: `mmsent-infer`."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mmsent import __version__
from mmsent.bundle.info import BundleInfo, Device
from mmsent.data.dataset import AS_IT_IS, Dataset, Reading, open_dataset
from mmsent.data.pair import Pair, Part
from mmsent.errors import InputError, MmsentError, Problem, refuse
from mmsent.files.interrupt import stop_on_signals
from mmsent.files.lock import locked
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.predict.batches import BATCH_SIZE, Prediction
from mmsent.predict.missing import check_pair
from mmsent.predict.model import SentimentModel
from mmsent.predict.output import Output
from mmsent.predict.stream import predict_stream


class Counts(NamedTuple):
    """How many rows a list had, and how many of them could not be predicted."""

    rows: int
    failed: int


def infer(
    list_path: Path,
    model_path: Path,
    output: Path,
    *,
    reading: Reading = AS_IT_IS,
    probabilities: bool = False,
    skip: bool = False,
    resume: bool = False,
    workers: int | None = None,
    batch_size: int | None = None,
    device: Device = "auto",
) -> Counts:
    """Predict every row of a list into ``output``.

    The list is any dataset (see `open_dataset`). Of one with splits, that of ``reading`` is
    predicted: by default "test" or, where no row is of that, all.
    ``output`` is CSV (guid,tag, with ``probabilities`` also a column per label), JSON lines where
    its name ends in .jsonl, or Parquet where it ends in .parquet.
    Raises InputError that names every bad row and file; then ``output`` is left as it was. With
    ``skip`` they go to OUTPUT.errors.csv instead, each row into one of the two.
    With ``resume`` an interrupted inference continues; Interrupted says that it can.
    """
    dataset = _choose(open_dataset(list_path, reading), reading.split)
    workers = workers or available_cores()
    batch_size = batch_size or BATCH_SIZE
    check_output_file(output, list_path, model_path)
    again = "the same command with --resume continues"
    busy = f"another inference is writing {output}"
    with locked(output.with_name(f".{output.name}.lock"), busy):
        model = SentimentModel(model_path, threads=1, device=device)
        count = _check(dataset, model.info, files=not skip)
        key = {
            "mmsent": __version__,
            "list": str(list_path.resolve()),
            "folder": str((reading.folder or list_path.parent).resolve()),
            "columns": dict(reading.columns),
            "images": reading.images and str(reading.images.resolve()),
            "split": reading.split,
            "model": model.identity,
            "options": [probabilities, skip, device, reading.allow_missing],
        }
        out = Output(output, labels=model.labels if probabilities else (), skip=skip)
        problems: list[Problem] = []
        coverage = model.coverage()
        try:
            with (
                stop_on_signals(again) as stoppable,
                closing(dataset.rows(contents=False)) as listed,
                out.open(key, listed, resume=resume),
                closing(dataset.rows(start=out.written)) as rows,
                closing(
                    predict_stream(
                        model,
                        rows,
                        workers=workers,
                        batch_size=batch_size,
                        skip=skip,
                        start=out.written,
                        journal=out.journal,
                        coverage=coverage,
                    )
                ) as outcomes,
                Progress("predicting", count - out.written, "pairs") as progress,
            ):
                for row, outcome in stoppable(outcomes):
                    if isinstance(row, Pair) and isinstance(outcome, Prediction):
                        out.write(row, outcome)
                    elif isinstance(outcome, Problem) and skip:
                        out.write_problem(outcome)
                    elif isinstance(outcome, Problem):
                        problems.append(outcome)
                    progress.update()
                refuse(problems, f"{output} was not written")
                coverage.warn()
        except OSError as error:
            reason = f"{error.filename or output}: {error.strerror or error}"
            raise MmsentError(f"{reason}; when that is fixed, {again}") from None
    return Counts(out.written, out.failed)


def check_output_file(output: Path, *inputs: Path) -> None:
    """Raises InputError where ``output`` is an input, or something else than a file."""
    if output.exists() and not output.is_file():
        raise InputError(f"{output} is not a regular file; --output names one")
    if any(output.exists() and path.exists() and output.samefile(path) for path in inputs):
        raise InputError(f"{output} is an input, too; name another --output")


def _choose(dataset: Dataset, split: str | None) -> Dataset:
    """The part of the dataset to predict. Raises InputError where nothing is in it."""
    if split == "all" or (split is None and not dataset.has("test")):
        return dataset
    wanted = split or "test"
    if split is not None and not dataset.has(split):
        raise InputError(f"{dataset.path} has no rows of the split {split}")
    return dataset.select((wanted,))


def _check(dataset: Dataset, info: BundleInfo, *, files: bool) -> int:
    """The number of rows; InputError where the list or, with ``files``, anything else is bad."""
    problems: list[Problem] = []
    absent: set[Part] = set()
    count = 0
    with closing(dataset.rows(contents=files)) as rows:
        for row in rows:
            count += 1
            if files:
                found = [row] if isinstance(row, Problem) else check_pair(row, info)
                if found and isinstance(row, Pair):
                    absent |= {part for part in info.optional if row.is_absent(part)}
                problems += found
    hint = "; this model can do without {}: --allow-missing predicts pairs where it is in no file"
    said = hint.format(" or ".join(f"the {part}" for part in sorted(absent))) if absent else ""
    refuse(problems, f"nothing was predicted{said}")
    return count

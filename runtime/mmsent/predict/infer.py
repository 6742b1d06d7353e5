"""Predict every row of a list into a file: `mmsent-infer`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mmsent import __version__
from mmsent.bundle.info import BundleInfo, Device
from mmsent.data.dataset import AS_IT_IS, Dataset, Reading, open_dataset
from mmsent.data.pair import Pair, Part
from mmsent.errors import InputError, MmsentError, Problem, Shortage, refuse
from mmsent.files.destination import find_file, is_stream, parents_of
from mmsent.files.interrupt import stop_on_signals
from mmsent.files.lock import locked
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.files.shortage import raise_shortage
from mmsent.files.stdin import STDIN, from_stdin
from mmsent.predict.batches import BATCH_SIZE, Prediction
from mmsent.predict.missing import check_pair
from mmsent.predict.model import SentimentModel
from mmsent.predict.output import Output, errors_path
from mmsent.predict.rows import Rows, kind_of
from mmsent.predict.stream import predict_stream
from mmsent.predict.streamed import Streamed


class Wanted(NamedTuple):
    """What is written for a prediction in addition to its label."""

    probabilities: bool = False
    embeddings: bool = False


LABEL_ALONE = Wanted()


class Counts(NamedTuple):
    """The number of rows, and of those that could not be predicted."""

    rows: int
    failed: int


def infer(
    list_path: Path,
    model_path: Path,
    output: Path,
    *,
    reading: Reading = AS_IT_IS,
    wanted: Wanted = LABEL_ALONE,
    skip: bool = False,
    resume: bool = False,
    workers: int | None = None,
    batch_size: int | None = None,
    device: Device = "auto",
) -> Counts:
    """Predict every row of a list into ``output``.

    The list is any dataset (see `open_dataset`), or "-" for a list from stdin. If it has splits,
    ``reading`` names the one to predict: by default "test", or all rows if there is no such split.
    ``output`` is CSV (guid,tag, with probabilities also a column per label), JSON Lines if its
    name ends in .jsonl, or Parquet if it ends in .parquet; see `kind_of`. CSV can't hold
    embeddings. To a stream (see `is_stream`), rows are written as soon as they are predicted.
    Raises InputError that names every bad row and file; then ``output`` stays unchanged. With
    ``skip``, bad rows go to OUTPUT.errors.csv instead, or to the log if the output is a stream, so
    that every row is in exactly one of the two.
    ``resume`` continues an interrupted inference; the message of Interrupted explains how.
    """
    if kind_of(output) == "csv" and wanted.embeddings:  # before the work, not after it
        raise InputError(f"{output}: CSV can't hold embeddings; name a .jsonl or .parquet file")
    _check_outputs(output, list_path, model_path, skip=skip)
    streamed = is_stream(output)
    if streamed and resume:
        raise InputError(f"--resume: {output} is a stream, so no predictions were kept")
    again = "start over" if streamed else "resume it with the same command and --resume"
    with from_stdin(list_path) as path, _reserved(output):
        if list_path == STDIN:  # like a list in the working folder
            reading = replace(reading, folder=reading.folder or Path())
        dataset = _choose(open_dataset(path, reading), reading.split)
        model = SentimentModel(model_path, threads=1, device=device)
        lines = _rows(output, model, wanted)
        count = _check(dataset, model.info, files=not skip)
        options = [*wanted, skip, device, reading.allow_missing]
        key = _key(list_path, reading) | {"model": model.identity, "options": options}
        out = Streamed(output, lines) if streamed else Output(output, lines, skip=skip)
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
                        workers=workers or available_cores(),
                        batch_size=batch_size or BATCH_SIZE,
                        skip=skip,
                        start=out.written,
                        journal=out.journal,
                        coverage=coverage,
                        embeddings=wanted.embeddings,
                    )
                ) as outcomes,
                Progress("predicting", count - out.written, "pairs") as progress,
            ):
                for row, outcome in stoppable(outcomes):
                    if isinstance(outcome, Problem) and not skip:
                        problems.append(outcome)
                    elif isinstance(outcome, Problem):
                        out.write_problem(outcome)
                    elif isinstance(row, Pair) and isinstance(outcome, Prediction) and not problems:
                        out.write(row, outcome)
                    progress.update()
                consequence = "ends before the first" if streamed else "was not written"
                refuse(problems, f"{output} {consequence}")
                coverage.warn()
        except Exception as error:
            raise _with_remedy(error, output, again) from None
    return Counts(out.written, out.failed)


def _rows(output: Path, model: SentimentModel, wanted: Wanted) -> Rows:
    """How predictions are written. Raises InputError if the bundle lacks a requested output."""
    if wanted.embeddings:
        model.check_embeddings()
    features = model.features or 0 if wanted.embeddings else 0
    return Rows(output, model.labels if wanted.probabilities else (), features)


def _key(list_path: Path, reading: Reading) -> dict[str, Any]:
    """Everything that affects the output; inference resumes only if it is the same."""
    return {
        "mmsent": __version__,
        "list": "stdin" if list_path == STDIN else str(list_path.resolve()),
        "folder": str((reading.folder or list_path.parent).resolve()),
        "columns": dict(reading.columns),
        "images": reading.images and str(reading.images.resolve()),
        "split": reading.split,
    }


@contextmanager
def _reserved(output: Path) -> Iterator[None]:
    """Create the output's folder, and lock the output while the block runs."""
    if is_stream(output):
        yield
        return
    target = find_file(output)
    busy = f"another inference is writing {output}"
    with parents_of(target), locked(target.with_name(f".{target.name}.lock"), busy):
        yield


def _with_remedy(error: Exception, output: Path, again: str) -> Exception:
    """``error``, with how to resume if the disk or the machine is at fault."""
    try:
        raise_shortage(error)
    except Shortage as shortage:
        error = shortage
    if isinstance(error, Shortage):
        return Shortage(f"{error}; then {again}")
    # a broken pipe is the reader's decision
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        reason = f"{error.filename or output}: {error.strerror or error}"
        return MmsentError(f"{reason}; when that is fixed, {again}")
    return error


def _check_outputs(output: Path, list_path: Path, model_path: Path, *, skip: bool) -> None:
    """Raise InputError if an output is an input, or can't be written; ``skip``: see `infer`."""
    inputs = (model_path,) if list_path == STDIN else (model_path, list_path)
    check_output_file(output, *inputs)
    if skip and not is_stream(output):
        check_output_file(errors_path(output), *inputs)


def check_output_file(output: Path, *inputs: Path) -> None:
    """Raise InputError if ``output`` is an input, or can't be written: see `is_stream`."""
    if is_stream(output):
        return
    if any(output.exists() and path.exists() and output.samefile(path) for path in inputs):
        raise InputError(f"{output} is also an input; name another file")


def _choose(dataset: Dataset, split: str | None) -> Dataset:
    """The split to predict. Raises InputError if it is empty."""
    if split == "all" or (split is None and not dataset.has("test")):
        return dataset
    wanted = split or "test"
    if split is not None and not dataset.has(split):
        raise InputError(f"{dataset.path} has no rows of the split {split}")
    return dataset.select((wanted,))


def _check(dataset: Dataset, info: BundleInfo, *, files: bool) -> int:
    """The number of rows. Raises InputError if the list or, with ``files``, any file is bad."""
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
    hint = "; this model works without {}: --allow-missing predicts pairs whose file does not exist"
    said = hint.format(" or ".join(f"the {part}" for part in sorted(absent))) if absent else ""
    refuse(problems, f"nothing was predicted{said}")
    return count

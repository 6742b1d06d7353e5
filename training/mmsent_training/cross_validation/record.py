"""The files of a cross-validation, rewritten after every fold.

cross_validation.json   how it was started, and the scores of each finished fold
predictions.csv         the finished folds' predictions for the pairs that they did not train on
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pandas as pd
from msgspec import Meta

from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import read_file
from mmsent_training.evaluation.predictions import write_csv
from mmsent_training.runs.record import MAX_RECORD, plain, typed
from mmsent_training.runs.resume import Start

RECORD = "cross_validation.json"
PREDICTIONS = "predictions.csv"
FORMAT = 1
SCORES = ("accuracy", "macro_f1", "loss")


@dataclass(frozen=True)
class Fold:
    """The scores of one fold; ``repeat`` and ``fold`` count from 1.

    ``loss``: the mean negative log-likelihood in nats, after calibration with ``temperature``.
    """

    repeat: int
    fold: int
    seed: int
    train_pairs: int
    pairs: int
    accuracy: float
    macro_f1: float
    loss: float
    temperature: float
    calibration_error: float
    kept_epoch: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """A score's mean and population standard deviation over the folds."""

    mean: float
    std: float


@dataclass(frozen=True)
class CrossValidation:
    """All of cross_validation.json. ``results``: the finished folds."""

    start: Start
    labels: tuple[str, ...]
    folds: Annotated[int, Meta(ge=2)]
    repeats: Annotated[int, Meta(ge=1)]
    results: tuple[Fold, ...] = ()

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The repetitions and folds that are still to be trained."""
        done = {(each.repeat, each.fold) for each in self.results}
        every = product(range(1, self.repeats + 1), range(1, self.folds + 1))
        return [one for one in every if one not in done]

    def summarize(self) -> dict[str, Summary]:
        """The mean and the standard deviation of each score over the finished folds."""
        columns = {name: [getattr(each, name) for each in self.results] for name in SCORES}
        return {
            name: Summary(float(np.mean(values)), float(np.std(values)))
            for name, values in columns.items()
        }

    def to_json(self) -> str:
        """JSON with the scores first, for readers."""
        content = {"format": FORMAT, "model": self.start.settings.model}
        if self.results:
            content |= {name: asdict(each) for name, each in self.summarize().items()}
        return json.dumps(content | asdict(self), indent=2, default=plain)


def describe(validation: CrossValidation) -> str:
    """The scores of every fold, and their mean and standard deviation, as a table of text."""
    lines = ["repeat  fold  pairs  accuracy  macro F1   loss"]
    for each in validation.results:
        lines.append(
            f"{each.repeat:6d}  {each.fold:4d}  {each.pairs:5d}  {each.accuracy:8.3f}  "
            f"{each.macro_f1:8.3f}  {each.loss:5.3f}"
        )
    found = validation.summarize()
    for title, key in (("mean", "mean"), ("standard deviation", "std")):
        accuracy, f1, loss = (getattr(found[name], key) for name in SCORES)
        lines.append(f"{title:<19}  {accuracy:8.3f}  {f1:8.3f}  {loss:5.3f}")
    return "\n".join(lines)


def write(folder: Path, validation: CrossValidation) -> None:
    """Write cross_validation.json."""
    with atomic_path(folder / RECORD) as part:
        part.write_text(validation.to_json() + "\n", encoding="utf-8")


def read(folder: Path) -> CrossValidation:
    """Read cross_validation.json. Raises InputError if it is missing, damaged or newer."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{folder} is not a cross-validation: it has no {RECORD}; `mmsent cross-validate` "
            "starts one"
        )
    try:
        content = json.loads(read_file(path, str(path), limit=MAX_RECORD))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, and this mmsent reads {FORMAT}")
        return msgspec.convert(content, CrossValidation, dec_hook=typed)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path} can't be used ({error}); start again") from None


def read_predictions(folder: Path, results: Sequence[Fold]) -> pd.DataFrame:
    """The predictions of the finished ``results``, all columns as text.

    Raises InputError if some are missing, or the file is damaged.
    """
    path = folder / PREDICTIONS
    if not results:
        return pd.DataFrame()
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        fold = table["repeat"] + " " + table["fold"]
    except (FileNotFoundError, LookupError, ValueError) as error:  # pandas' errors are of these
        raise InputError(f"{path} can't be used ({error}); start again") from None
    counts = fold.value_counts()
    done = {f"{each.repeat} {each.fold}": each.pairs for each in results}
    if lacking := [name for name, pairs in done.items() if counts.get(name) != pairs]:
        first = "repetition {}, fold {}".format(*lacking[0].split())
        raise InputError(f"{path} lacks predictions of {first}; start again")
    return table[fold.isin(done)]


def write_predictions(folder: Path, results: Sequence[Fold], predictions: pd.DataFrame) -> None:
    """Add the ``predictions`` of a fold to those of the finished ``results``."""
    known = [read_predictions(folder, results)] if results else []
    write_csv(folder / PREDICTIONS, pd.concat([*known, predictions]))

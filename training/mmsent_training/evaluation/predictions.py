"""Predictions as CSV, one pair per row, as in runs, `mmsent evaluate` and `mmsent-infer`.

guid        the pair's guid
tag         its true label; in files of `mmsent-infer`, which have no predicted, the predicted label
predicted   the most probable label
...         a column for each label, with its probability
"""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from mmsent.data.labels import label_columns, order_labels, plain_label
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import read_file
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.examples import Labels

FIXED_COLUMNS = ("guid", "tag", "predicted")
MAX_BYTES = 1 << 30
"""Larger files of predictions are refused."""
TOLERANCE = 0.01
"""By how much the probabilities of a row may miss 1: they are rounded."""


class Predicted(NamedTuple):
    """A model's prediction for a pair, and the pair's true label, or None if it is unknown.

    ``probabilities``: of each label, in the model's order, or None if they are unknown.
    """

    tag: str | None
    predicted: str
    probabilities: tuple[float, ...] | None


@dataclass(frozen=True)
class Predictions:
    """Predictions by guid, and the model's labels, as far as they are known."""

    labels: tuple[str, ...]
    rows: dict[str, Predicted]


def write_predictions(
    path: Path,
    guids: Sequence[str],
    labels: Labels,
    probabilities: Floats,
    label_names: Sequence[str],
) -> None:
    """Write predictions of pairs: see `predictions_table`."""
    write_csv(path, predictions_table(guids, labels, probabilities, label_names))


def predictions_table(
    guids: Sequence[str],
    labels: Labels,
    probabilities: Floats,
    label_names: Sequence[str],
    first: Mapping[str, object] = MappingProxyType({}),
) -> pd.DataFrame:
    """Predictions of pairs with the true ``labels``, int64 [pairs], one pair per row.

    ``probabilities``: float32 [pairs, labels]. ``first``: columns before these, one value per pair.
    """
    table: dict[str, object] = {
        **first,
        "guid": guids,
        "tag": [label_names[label] for label in labels],
        "predicted": [label_names[label] for label in probabilities.argmax(axis=1)],
    }
    names = label_columns(label_names, table).values()
    return pd.DataFrame(table | dict(zip(names, probabilities.T)))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table; floats get six digits."""
    with atomic_path(path) as part:
        table.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")


def read_predictions(path: Path, labels: Sequence[str] | None = None) -> Predictions:
    """Read predictions; ``labels`` are the model's, if they are known.

    Other columns are ignored. Raises InputError if the file is empty, has another format, or
    repeats a guid.
    """
    names, lines = _read(path)
    if "guid" not in names or not {"tag", "predicted"} & {*names}:
        raise InputError(
            f"{path} has no predictions: it needs the columns guid and tag, as `mmsent-infer` "
            f"writes them, or guid, tag and predicted, as `mmsent evaluate` does; it has "
            f"{', '.join(names[:20]) or 'none'}"
        )
    guid, true = names.index("guid"), names.index("tag") if "tag" in names else None
    predicted = names.index("predicted") if "predicted" in names else true
    assert predicted is not None, "one of both columns is there"
    answers = [plain_label(cells[predicted]) for _, cells in lines]
    tags: list[str | None] = [None] * len(lines)
    if true is not None and true != predicted:
        tags = [plain_label(cells[true]) for _, cells in lines]
    known, values = _find_probabilities(names, [cells for _, cells in lines], labels, answers)
    rows: dict[str, Predicted] = {}
    repeated: list[str] = []
    for (line, cells), tag, answer, row in zip(lines, tags, answers, values):
        if not (name := cells[guid]) or not answer or tag == "":
            raise InputError(f"{path} line {line}: the guid or a label is missing")
        if name in rows:
            repeated.append(name)
        rows[name] = Predicted(tag, answer, row)
    if repeated:
        raise InputError(f"{path} has more than one prediction for {count_guids(repeated)}")
    if not rows:
        raise InputError(f"{path} has no predictions")
    return Predictions(tuple(known), rows)


def count_guids(guids: Sequence[str]) -> str:
    """Some guids for a message: their number and the first ones."""
    shown = ", ".join(guids[:5])
    if len(guids) == 1:
        return f"1 pair (guid {shown})"
    return f"{len(guids)} pairs (guids {shown}{', …' if len(guids) > 5 else ''})"


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with their lines."""
    try:
        text = read_file(path, str(path), limit=MAX_BYTES).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = [name.strip() for name in next(reader, [])]
        rows = [
            (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)
        ]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None
    for line, cells in rows:
        if len(cells) != len(names):
            fault = f"{len(cells)} fields, but the header has {len(names)}"
            raise InputError(f"{path} line {line}: {fault}")
    return names, rows


def _find_probabilities(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    labels: Sequence[str] | None,
    answers: Sequence[str],
) -> tuple[Sequence[str], Sequence[tuple[float, ...] | None]]:
    """The model's labels, and each row's probabilities, or None if there are none.

    If the ``labels`` are unknown, they are the names of all columns except the fixed ones or, if
    those don't add up to 1, of those that occur among the predicted labels, ``answers``.
    """
    if labels is not None:
        named = label_columns(labels, FIXED_COLUMNS)
        choices = [{label: name for label, name in named.items() if name in names}]
    else:
        others = {_label(name): name for name in names if name not in FIXED_COLUMNS}
        choices = [others, {label: others[label] for label in others if label in answers}]
    for columns in choices:
        if {*answers} <= columns.keys() and (labels is None or len(columns) == len(labels)):
            places = [names.index(name) for name in columns.values()]
            with suppress(ValueError):
                return [*columns], [_probabilities(cells, places) for cells in rows]
    return order_labels(answers) if labels is None else labels, [None] * len(rows)


def _label(column: str) -> str:
    """The label whose probabilities are in a column: see `label_columns`."""
    plain = column.rstrip("_")
    return plain if plain in FIXED_COLUMNS else column


def _probabilities(cells: Sequence[str], places: Sequence[int]) -> tuple[float, ...]:
    """The probabilities of a row. Raises ValueError if they don't add up to 1."""
    row = tuple(float(cells[place]) for place in places)
    if not abs(sum(row) - 1) <= TOLERANCE or min(row) < 0:
        raise ValueError(f"{row} does not add up to 1")
    return row

"""The format of predictions: lines of CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmsent.data.labels import label_columns
from mmsent.data.pair import Pair
from mmsent.errors import InputError, Problem
from mmsent.predict.batches import Prediction

FIXED_COLUMNS = ("guid", "tag")
"""The columns of every output, before the labels' probabilities."""
EMBEDDING_COLUMN = "embedding"
_KINDS = {
    "": "csv",
    ".csv": "csv",
    ".txt": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


def kind_of(path: Path) -> str:
    """The format that an output's name requests: "csv", "json" (lines) or "parquet".

    Raises InputError for other names.
    """
    try:
        return _KINDS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(filter(None, _KINDS))
        raise InputError(f"{path}: --output can't end in {path.suffix}, only in {known}") from None


class Rows:
    """The lines of an output at a path: see `kind_of`.

    ``labels`` are those whose probabilities are wanted. ``features``: the size of the embeddings, 0
    if they are not wanted; CSV can't hold them.
    """

    def __init__(self, path: Path, labels: Sequence[str] = (), features: int = 0) -> None:
        self.labels, self.features, self.json = labels, features, kind_of(path) != "csv"
        taken = (*FIXED_COLUMNS, EMBEDDING_COLUMN) if features else FIXED_COLUMNS
        self.columns = label_columns(labels, taken)
        self.header = b"" if self.json else csv_line(*FIXED_COLUMNS, *self.columns.values())

    def line(self, row: Pair, prediction: Prediction) -> bytes:
        """The line of a prediction."""
        if self.json:
            fields: dict[str, Any] = {"guid": row.guid, "tag": prediction.label}
            if self.labels:
                fields["probabilities"] = prediction.probabilities
            if self.features and prediction.embedding is not None:
                fields[EMBEDDING_COLUMN] = plain_floats(prediction.embedding)
            return (json.dumps(fields, ensure_ascii=False) + "\n").encode()
        values = (f"{prediction.probabilities[label]:.7g}" for label in self.labels)
        return csv_line(row.guid, prediction.label, *values)

    def start(self, item: Pair | Problem) -> bytes:
        """The start of the line of a predicted row."""
        if isinstance(item, Problem):
            return b"\n"  # no line starts with this
        if self.json:
            return json.dumps({"guid": item.guid}, ensure_ascii=False)[:-1].encode() + b","
        return csv_line(item.guid, "")[:-1]


def plain_floats(values: Iterable[float]) -> list[float]:
    """float32 numbers with as many digits as they have: nine, not the seventeen of a float64."""
    return [float(f"{value:.9g}") for value in values]


def csv_line(*cells: object) -> bytes:
    """A row of CSV, in UTF-8."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(cells)
    return file.getvalue().encode(errors="replace")

"""Write pairs and predictions as Parquet. Requires the extra mmsent[parquet]."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmsent.data.dataset import Dataset, mark_duplicates
from mmsent.data.pair import File, Pair
from mmsent.data.parquet import import_pyarrow
from mmsent.errors import Problem, refuse
from mmsent.files.atomic import atomic_path
from mmsent.files.progress import Progress

PACKED_BYTES = 1 << 24  # of a row group of pairs, approximately
PREDICTED_ROWS = 10_000  # of a row group of predictions, at most
PREDICTED_FEATURES = 1 << 20  # of the embeddings in a row group, at most


_STRING = {"dtype": "string", "_type": "Value"}
# The columns of pairs, described for Hugging Face's datasets.
FEATURES = {
    "guid": _STRING, "text": _STRING, "image": {"_type": "Image"}, "tag": _STRING, "split": _STRING
}  # fmt: skip


def pack(dataset: Dataset, output: Path) -> int:
    """Write pairs with their texts and images to one Parquet file; returns their number.

    Texts become UTF-8. Images keep their bytes and file names. Missing parts become null.
    ``datasets.load_dataset("parquet", data_files=...)`` reads the images as an Image column.
    Raises InputError that names every bad row and file; then ``output`` stays unchanged.
    """
    pa, pq = import_pyarrow()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [(name, image if name == "image" else pa.string()) for name in FEATURES],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    size = count = 0
    # Images are compressed already.
    options = {"compression": {name: "zstd" for name in FEATURES if name != "image"}}
    with (
        atomic_path(output) as part,
        open(part, "wb") as file,  # Arrow accepts only UTF-8 paths
        pq.ParquetWriter(file, schema, use_dictionary=["tag", "split"], **options) as writer,
        Progress("packing", None, "pairs") as progress,
    ):
        for row in mark_duplicates(dataset.rows()):
            progress.update()
            if isinstance(row, Problem):
                problems.append(row)
                continue
            text = None if row.lacks("text") else row.attempt("text", row.read_text)
            image = None if row.lacks("image") else row.attempt("image", partial(row.read, "image"))
            problems += [part for part in (text, image) if isinstance(part, Problem)]
            if problems or isinstance(text, Problem) or isinstance(image, Problem):
                rows.clear()  # nothing will be written: only check the other rows
                continue
            content = None if image is None else {"bytes": image, "path": _file_name(row)}
            values = (row.guid, text, content, row.label, row.split)
            rows.append(dict(zip(FEATURES, values)))
            size, count = size + len(text or "") + len(image or b""), count + 1
            if size > PACKED_BYTES:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows, size = [], 0
        refuse(problems, f"{output} was not written")
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


def _file_name(pair: Pair) -> str | None:
    """The image's file name, if it is in a file."""
    if not isinstance(pair.image, File):
        return None
    return os.fsencode(pair.image.name).decode(errors="replace")


def write_predictions(
    lines: Path, output: Path, columns: Mapping[str, str], features: int = 0
) -> None:
    """Convert predictions from JSON Lines to Parquet: guid, tag, and a float32 per label.

    ``columns``: the column name of each label, if probabilities are wanted. ``features``: the size
    of the embeddings, which become a fixed-size list of float32; 0 if they are not wanted.
    """
    pa, pq = import_pyarrow()
    fields = [("guid", pa.string()), ("tag", pa.string())]
    fields += [(name, pa.float32()) for name in columns.values()]
    size = PREDICTED_ROWS
    if features:
        fields.append(("embedding", pa.list_(pa.float32(), features)))
        size = min(size, max(1, PREDICTED_FEATURES // features))
    schema = pa.schema(fields)

    def write(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            probabilities = row.pop("probabilities", {})
            row.update({columns[label]: value for label, value in probabilities.items()})
        writer.write_table(pa.Table.from_pylist(rows, schema))

    with (
        open(lines, "rb") as predictions,
        atomic_path(output) as part,
        open(part, "wb") as file,
        pq.ParquetWriter(file, schema) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for line in predictions:
            rows.append(json.loads(line))
            if len(rows) == size:
                write(rows)
                rows = []
        if rows:
            write(rows)

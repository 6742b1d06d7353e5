"""Parquet: pairs in one file instead of a folder, and predictions. Needs the extra mmsent[parquet].

Columns: guid (text or whole numbers), text, image, and perhaps tag; others are not read. An image
is bytes, a path within the dataset folder, or what Hugging Face's datasets write for an Image
column: a struct of both, of which ``bytes`` counts where it isn't null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsent.data.dataset import (
    Packed,
    Row,
    image_of,
    image_place,
    make_row,
    mark_duplicates,
    read_list,
    text_of,
    text_place,
)
from mmsent.errors import InputError, MmsentError, Problem, refuse
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import MAX_IMAGE_BYTES, open_file
from mmsent.files.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROW_GROUP = 1 << 32
"""Files with a larger row group (in bytes, uncompressed, as the file declares it) are refused."""
BATCH_BYTES = 1 << 24  # what is decoded at once, about
BATCH_ROWS = 256
PACKED_BYTES = 1 << 24  # of a row group that `mmsent pack` writes, about
PREDICTED_ROWS = 10_000  # of a row group of predictions


def _pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises MmsentError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise MmsentError(
            "Parquet needs pyarrow, which is not installed here; "
            "install it with: pip install 'mmsent[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def read_parquet(
    path: Path,
    problems: list[Problem],
    *,
    labelled: bool = False,
    contents: bool = True,
    start: int = 0,
) -> Iterator[Row]:
    """Yield the rows of a Parquet file, as `mmsent.data.dataset.read_list` does those of a list.

    A row's ``line`` counts from 1. Row group after row group is read, and of each a batch of about
    BATCH_BYTES at a time. Without ``contents`` texts and images are not read; ``start`` rows are
    passed over.
    Raises InputError where the file is no Parquet file, is damaged, or lacks a column or its type.
    """
    pa, pq = _pyarrow()
    try:
        with open_file(path, str(path)) as handle:
            # Without pre_buffer and with a buffer, pages are read as they are needed.
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=1 << 20)
            columns = _columns(path, file.schema_arrow, labelled=labelled, contents=contents)
            count, size = file.metadata.num_rows, os.fstat(handle.fileno()).st_size
            if count > size:
                raise InputError(f"{path} can't hold {count} rows in its {size} bytes")
            line = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if line + group.num_rows <= start:
                    line += group.num_rows
                    continue
                rows = _batch_rows(path, group)
                for batch in file.iter_batches(rows, [number], columns, use_threads=False):
                    for row in _rows(batch, path.name, line, problems, labelled=labelled):
                        line += 1
                        if line > start and row is not None:
                            yield row
                        elif line <= start:
                            problems.clear()
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no whole Parquet file ({reason})") from None


def _columns(path: Path, schema: pa.Schema, *, labelled: bool, contents: bool) -> list[str]:
    """The columns to read. Raises InputError where one is missing, double or of a wrong type."""
    wanted = ["guid", "text", "image"] if contents else ["guid"]
    missing = {*wanted, "guid", "text", "image", *(["tag"] if labelled else [])} - set(schema.names)
    if missing:
        raise InputError(
            f"{path} must have the columns guid, text and image{' and tag' * labelled}; "
            f"it lacks {' and '.join(sorted(missing))}"
        )
    columns = [*wanted, *(["tag"] if "tag" in schema.names else [])]
    for name in columns:
        if schema.names.count(name) > 1:
            raise InputError(f"{path} has two columns {name}")
        if not _fits(name, schema.field(name).type):
            raise InputError(f"{path}: the column {name} can't be {schema.field(name).type}")
    return columns


def _fits(name: str, kind: pa.DataType) -> bool:
    pa, _ = _pyarrow()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = _is_text(kind)
    if name == "guid":  # a float is told of row by row, as in a list
        return text or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if name == "image" and pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        parts = [fields[part] for part in ("bytes", "path") if part in fields]
        return bool(parts) and all(_is_text(part) for part in parts)
    return text


def _is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text or bytes: which of both it is called is of no consequence."""
    names = (
        "null",
        "string",
        "large_string",
        "string_view",
        "binary",
        "large_binary",
        "binary_view",
    )
    return str(kind) in names


def _batch_rows(path: Path, group: Any) -> int:
    """How many rows of a row group to decode at once."""
    # Not `group.column(i)`: pyarrow's aborts the process where a column's metadata are damaged.
    size: int = group.total_byte_size
    average: int = size // max(1, group.num_rows)
    if size > MAX_ROW_GROUP:
        raise InputError(
            f"{path} has a row group of {size >> 20} MiB; write smaller ones, of up to "
            f"{MAX_ROW_GROUP >> 20} MiB"
        )
    # With a dictionary a large value may stand in every row for next to nothing: a batch of the
    # largest that there can be takes 16 times BATCH_BYTES.
    rows: int = BATCH_BYTES // max(1, average, size >> 4)
    return max(1, min(BATCH_ROWS, rows))


def _rows(
    batch: pa.RecordBatch, name: str, line: int, problems: list[Problem], *, labelled: bool
) -> Iterator[Row | None]:
    """The rows of a batch whose first is ``line`` + 1; None for one that went to ``problems``."""
    names = batch.schema.names
    guids = _guids(batch.column("guid"))
    tags = cells(batch.column("tag")) if "tag" in names else [None] * len(guids)
    packed: Sequence[Packed | None] = [None] * len(guids)
    if "text" in names:
        packed = pack_cells(batch.column("text"), batch.column("image"))
    for guid, cell, pair in zip(guids, tags, packed):
        line += 1
        tag = "" if cell is None else cell.decode(errors="replace").strip()
        row = make_row(line, guid, tag, name, labelled=labelled, packed=pair)
        if isinstance(row, Problem):
            problems.append(row)
            yield None
        else:
            yield row


def _guids(column: pa.Array) -> list[str]:
    pa, _ = _pyarrow()
    column = _plain(column)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    return [(value or b"").decode(errors="replace").strip() for value in cells(column)]


def pack_cells(text: pa.Array, image: pa.Array) -> list[Packed]:
    """What a text and an image column hold of each pair."""
    pa, _ = _pyarrow()
    image = _plain(image)
    if pa.types.is_struct(image.type):
        images, paths = (cells(part) for part in _fields(image))
    elif pa.types.is_null(image.type) or "binary" in str(image.type):
        images, paths = cells(image), [None] * len(image)
    else:
        images, paths = [None] * len(image), cells(image)
    return [
        Packed(words, data, None if path is None else path.decode(errors="surrogateescape"))
        for words, data, path in zip(cells(text), images, paths)
    ]


def _fields(image: pa.StructArray) -> list[pa.Array]:
    """The fields bytes and path, null where the struct is (``field`` alone would forget that)."""
    pa, _ = _pyarrow()
    parts = {field.name: part for field, part in zip(image.type, image.flatten())}
    return [parts.get(name, pa.nulls(len(image))) for name in ("bytes", "path")]


def cells(column: pa.Array) -> list[bytes | None]:
    """Text or bytes as bytes: texts need not be what they are said to be, valid UTF-8.

    Of what is too long for an image there is just enough for that to be seen.
    """
    pa, _ = _pyarrow()
    data = _plain(column).cast(pa.large_binary())
    if data.nbytes > MAX_IMAGE_BYTES:
        data = pa.compute.binary_slice(data, 0, MAX_IMAGE_BYTES + 1)
    values: list[bytes | None] = data.to_pylist()
    return values


def _plain(column: pa.Array) -> pa.Array:
    pa, _ = _pyarrow()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def has_labels(path: Path) -> bool:
    """Whether any row of a Parquet file has a label. Raises InputError as read_parquet does."""
    return any(row.label is not None for row in read_parquet(path, [], contents=False))


@dataclass(frozen=True)
class _Kind:
    """A column type by pyarrow's name, and how Hugging Face's datasets call it."""

    arrow: Callable[[Any], Any]
    feature: dict[str, str]


_STRING = _Kind(lambda pa: pa.string(), {"dtype": "string", "_type": "Value"})
_IMAGE = _Kind(
    lambda pa: pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}
)
_PAIR = {"guid": _STRING, "text": _STRING, "image": _IMAGE, "tag": _STRING}


def pack(list_path: Path, folder: Path, output: Path) -> int:
    """Write a list's pairs with their texts and images into one Parquet file; return their number.

    Texts become UTF-8, images keep their bytes, and labels left open become null.
    ``datasets.load_dataset("parquet", data_files=...)`` finds an Image column.
    Raises InputError that names every bad row and file; then ``output`` is left as it was.
    """
    pa, pq = _pyarrow()
    features = {name: kind.feature for name, kind in _PAIR.items()}
    schema = pa.schema(
        [(name, kind.arrow(pa)) for name, kind in _PAIR.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    size = count = 0
    # Images are compressed already.
    options = {"compression": {"guid": "zstd", "text": "zstd", "tag": "zstd"}}
    with (
        atomic_path(output) as part,
        pq.ParquetWriter(part, schema, use_dictionary=["tag"], **options) as writer,
        Progress("packing", None, "pairs") as progress,
    ):
        for row in mark_duplicates(read_list(list_path, problems), list_path.name):
            progress.update()
            if isinstance(row, Problem):
                problems.append(row)
                continue
            found: list[Any] = []
            for read, place in ((text_of, text_place), (image_of, image_place)):
                try:
                    found.append(read(folder, row))
                except InputError as error:
                    file = place(folder, row, list_path.name)
                    problems.append(Problem(list_path.name, row.line, row.guid, file, str(error)))
            if problems:
                rows.clear()  # nothing will be written: the others are only checked
                continue
            (text, _), image = found
            content = {"bytes": image, "path": f"{row.guid}.jpg"}
            rows.append({"guid": row.guid, "text": text, "image": content, "tag": row.label})
            size, count = size + len(image) + len(text), count + 1
            if size > PACKED_BYTES:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows, size = [], 0
        refuse(problems, f"{output} was not written")
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


def write_predictions(lines: Path, output: Path, labels: Sequence[str]) -> None:
    """Turn predictions in JSON lines into a Parquet file: guid, tag, a float32 for each label."""
    pa, pq = _pyarrow()
    strings = [("guid", pa.string()), ("tag", pa.string())]
    schema = pa.schema([*strings, *((label, pa.float32()) for label in labels)])

    def write(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.update(row.pop("probabilities", {}))
        writer.write_table(pa.Table.from_pylist(rows, schema))

    with (
        open(lines, "rb") as file,
        atomic_path(output) as part,
        pq.ParquetWriter(part, schema) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for line in file:
            rows.append(json.loads(line))
            if len(rows) == PREDICTED_ROWS:
                write(rows)
                rows = []
        write(rows)

"""Lists in Parquet, with their texts and possibly their images. Requires mmsent[parquet].

An image is bytes, a path, or the struct of both that Hugging Face's datasets write for an Image
column; then ``bytes`` takes precedence.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsent.data.columns import Cells, Columns, Role, plain
from mmsent.data.labels import NESTED, SEVERAL_LABELS
from mmsent.distributions import install_command
from mmsent.errors import InputError, MmsentError
from mmsent.files.bounded import MAX_IMAGE_BYTES, open_file
from mmsent.files.shortage import raise_shortage

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROW_GROUP = 1 << 32
"""Files with a larger row group (in bytes, uncompressed, as declared) are refused."""
BATCH_BYTES = 1 << 24  # decoded at once, approximately
BATCH_ROWS = 256

_ASKED = re.compile(r"alloc of size (\d+)")


def import_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises MmsentError if they are not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise_shortage(error)
        raise MmsentError(
            "Parquet requires pyarrow, which is not installed here\n"
            f"Run {install_command('mmsent', 'parquet')}"
        ) from None
    return pyarrow, pyarrow.parquet


def read_names(path: Path) -> list[str]:
    """The names of the columns. Raises InputError if the file is not a Parquet file."""
    with _open(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def read_cells(
    path: Path, columns: Columns, *, labelled: bool, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The rows from ``start`` on, numbered from 1; a row with an invalid label is its problem.

    Reads one row group after the other, in batches of about BATCH_BYTES. Without ``labelled``,
    labels of an invalid type are omitted, and lists of labels become NESTED.
    Raises InputError if the file is not a Parquet file or is damaged, or a column has a wrong type.
    """
    with _open(path) as file:
        schema = file.schema_arrow
        given, columns = columns, _fitting(path, schema, columns, labelled=labelled)
        names = class_names(schema, columns.get("label", ""))
        nested = "label" in given and _is_nested(schema, given["label"])
        line = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if line + group.num_rows <= start:
                line += group.num_rows
                continue
            wanted = [*dict.fromkeys(columns.values())]
            for batch in file.iter_batches(
                _batch_rows(path, group), [number], wanted, use_threads=False
            ):
                for cells in _cells(batch, columns, names, nested=nested):
                    line += 1
                    if line > start:
                        yield line, cells


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile.

    Errors in the block raise InputError, or Shortage for a lack of memory.
    """
    pa, pq = import_pyarrow()
    try:
        with open_file(path, str(path)) as handle:
            # With a buffer and without pre_buffer, pages are read when they are needed.
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=1 << 20)
            count, size = file.metadata.num_rows, os.fstat(handle.fileno()).st_size
            if count > size:
                raise InputError(f"{path} can't hold {count} rows in its {size} bytes")
            yield file
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())
        asked = _ASKED.search(reason)
        if (
            asked is None or int(asked[1]) <= MAX_ROW_GROUP
        ):  # no machine has that much memory: the file is damaged
            raise_shortage(error)
        raise InputError(f"{path} is not a complete Parquet file ({reason})") from None


def _cells(
    batch: pa.RecordBatch, columns: Columns, class_names: Sequence[str], *, nested: bool
) -> Iterator[Cells | str]:
    """The rows of a batch; ``class_names``: the names of numeric labels.

    ``nested``: each label is a list or a struct, which is not read.
    """
    nothing = [None] * batch.num_rows

    def values(role: Role) -> Sequence[str | None]:
        return _strings(batch.column(columns[role])) if role in columns else nothing

    labels = [NESTED] * batch.num_rows if nested else values("label")
    if class_names:
        labels = [_class_name(label, class_names) for label in labels]
    texts: Sequence[bytes | None] = nothing
    images: Sequence[bytes | str | None] = nothing
    if "text" in columns:
        texts = bytes_of(batch.column(columns["text"]))
    if "image" in columns:
        images = images_of(batch.column(columns["image"]))
    return map(Cells, values("guid"), texts, images, labels, values("split"))


def class_names(schema: pa.Schema, column: str) -> Sequence[str]:
    """The names behind the numbers of a ClassLabel column of Hugging Face's datasets."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return names if all(isinstance(name, str) for name in names) else ()
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()


def _class_name(label: str | None, names: Sequence[str]) -> str | None:
    """The name of a class by its number; -1 is how datasets write a missing label."""
    if label is None or label == "-1":
        return None
    return names[int(label)] if label.isdecimal() and int(label) < len(names) else label


def _fitting(path: Path, schema: pa.Schema, columns: Columns, *, labelled: bool) -> Columns:
    """The columns to read. Raises InputError if one has a wrong type."""
    kept: dict[Role, str] = {}
    for role, name in columns.items():
        kind = schema.field(name).type
        if _fits(role, kind):
            kept[role] = name
        elif role != "label" or labelled:
            if role == "label" and _is_nested(schema, name):
                raise InputError(f"{path}: the column {name} {SEVERAL_LABELS}")
            raise InputError(f"{path}: the column {name} can't be of type {kind}")
    return kept


def _is_nested(schema: pa.Schema, name: str) -> bool:
    pa, _ = import_pyarrow()
    nested: bool = pa.types.is_nested(schema.field(name).type)
    return nested


def _fits(role: Role, kind: pa.DataType) -> bool:
    pa, _ = import_pyarrow()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = _is_text(kind)
    if role == "image" and pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        parts = [fields[part] for part in ("bytes", "path") if part in fields]
        return bool(parts) and all(_is_text(part) for part in parts)
    if role in ("text", "image"):
        return text
    # A floating-point guid is reported for each row, as in other lists.
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return text or numbers or (role == "label" and pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    """Whether a type is text or bytes; either may be stored as the other."""
    return str(kind) == "null" or str(kind).removeprefix("large_").removesuffix("_view") in (
        "string", "binary",
    )  # fmt: skip


def _batch_rows(path: Path, group: Any) -> int:
    """The number of rows of a row group to decode at once."""
    # Not `group.column(i)`: with damaged column metadata, pyarrow aborts the process.
    size: int = group.total_byte_size
    average: int = size // max(1, group.num_rows)
    if size > MAX_ROW_GROUP:
        raise InputError(
            f"{path} has a row group of {size >> 20} MiB; write smaller ones, of up to "
            f"{MAX_ROW_GROUP >> 20} MiB"
        )
    # With a dictionary, a large value can be in every row at almost no cost: a batch of the largest
    # possible value takes 16 times BATCH_BYTES.
    rows: int = BATCH_BYTES // max(1, average, size >> 4)
    return max(1, min(BATCH_ROWS, rows))


def _strings(column: pa.Array) -> list[str | None]:
    """Texts, numbers or booleans as text."""
    column = _plain(column)
    if _is_text(column.type):
        cells = bytes_of(column)
        return [None if cell is None else cell.decode(errors="replace") for cell in cells]
    return [None if value is None else plain(value) for value in column.to_pylist()]


def images_of(column: pa.Array) -> list[bytes | str | None]:
    """Images as bytes, or as paths if the column contains those."""
    pa, _ = import_pyarrow()
    column = _plain(column)
    if pa.types.is_struct(column.type):
        images, paths = (bytes_of(part) for part in _fields(column))
    elif pa.types.is_null(column.type) or "binary" in str(column.type):
        images, paths = bytes_of(column), [None] * len(column)
    else:
        images, paths = [None] * len(column), bytes_of(column)
    return [
        path.decode(errors="surrogateescape") if data is None and path else data
        for data, path in zip(images, paths)
    ]


def _fields(image: pa.StructArray) -> list[pa.Array]:
    """The fields bytes and path, null if the struct is null, which ``field`` does not preserve."""
    pa, _ = import_pyarrow()
    parts = {field.name: part for field, part in zip(image.type, image.flatten())}
    return [parts.get(name, pa.nulls(len(image))) for name in ("bytes", "path")]


def bytes_of(column: pa.Array) -> list[bytes | None]:
    """Text or bytes as bytes, since a text column may contain invalid UTF-8.

    Values that are too long for an image are cut to just above the limit, so that it is detected.
    """
    pa, _ = import_pyarrow()
    data = _plain(column).cast(pa.large_binary())
    if data.nbytes > MAX_IMAGE_BYTES:
        data = pa.compute.binary_slice(data, 0, MAX_IMAGE_BYTES + 1)
    values: list[bytes | None] = data.to_pylist()
    return values


def _plain(column: pa.Array) -> pa.Array:
    pa, _ = import_pyarrow()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column

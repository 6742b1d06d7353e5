"""Reading pairs from one Parquet file instead of a folder. Needs the extra mmsent[parquet].

Columns: guid (text or whole numbers), text, image, and perhaps tag; others are not read. An image
is bytes, a path within the dataset folder, or what Hugging Face's datasets write for an Image
column: a struct of both, of which ``bytes`` counts where it isn't null.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsent.data.pair import File, Pair, Source, make_pair
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.files.bounded import MAX_IMAGE_BYTES, open_file

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROW_GROUP = 1 << 32
"""Files with a larger row group (in bytes, uncompressed, as the file declares it) are refused."""
BATCH_BYTES = 1 << 24  # what is decoded at once, about
BATCH_ROWS = 256


def import_pyarrow() -> tuple[Any, Any]:
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


@dataclass(frozen=True)
class ParquetDataset:
    """A Parquet file; paths of images in it are relative to ``folder``."""

    path: Path
    folder: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def rows(
        self, *, labelled: bool = False, contents: bool = True, start: int = 0
    ) -> Iterator[Pair | Problem]:
        """The rows, as `mmsent.data.dataset.Dataset` has them; a row's ``line`` counts from 1.

        Row group after row group is read, and of each a batch of about BATCH_BYTES at a time.
        Raises InputError where the file is no Parquet file, is damaged, or lacks a column or its
        type.
        """
        pa, pq = import_pyarrow()
        path = self.path
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
                        for row in self._pairs(batch, line, labelled=labelled):
                            line += 1
                            if line > start:
                                yield row
        except InputError:
            raise
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is no whole Parquet file ({reason})") from None

    def _pairs(
        self, batch: pa.RecordBatch, line: int, *, labelled: bool
    ) -> Iterator[Pair | Problem]:
        """The rows of a batch whose first is ``line`` + 1."""
        names = batch.schema.names
        guids = _guids(batch.column("guid"))
        tags = cells(batch.column("tag")) if "tag" in names else [None] * len(guids)
        sources: list[tuple[Source | None, Source | None]] = [(None, None)] * len(guids)
        if "text" in names:
            sources = read_sources(batch.column("text"), batch.column("image"), self.folder)
        for guid, cell, (text, image) in zip(guids, tags, sources):
            line += 1
            tag = "" if cell is None else cell.decode(errors="replace").strip()
            yield make_pair(self.name, line, guid, tag, labelled=labelled, text=text, image=image)


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
    pa, _ = import_pyarrow()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = _is_text(kind)
    if name == "guid":  # a float is reported row by row, as in a list
        return text or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if name == "image" and pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        parts = [fields[part] for part in ("bytes", "path") if part in fields]
        return bool(parts) and all(_is_text(part) for part in parts)
    return text


def _is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text or bytes; it may be called either."""
    return str(kind) == "null" or str(kind).removeprefix("large_").removesuffix("_view") in (
        "string", "binary",
    )  # fmt: skip


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
    # With a dictionary a large value may be in every row for next to nothing: a batch of the
    # largest that there can be takes 16 times BATCH_BYTES.
    rows: int = BATCH_BYTES // max(1, average, size >> 4)
    return max(1, min(BATCH_ROWS, rows))


def _guids(column: pa.Array) -> list[str]:
    pa, _ = import_pyarrow()
    column = _plain(column)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    return [(value or b"").decode(errors="replace").strip() for value in cells(column)]


def read_sources(
    text: pa.Array, image: pa.Array, folder: Path
) -> list[tuple[Source | None, Source | None]]:
    """Each text and image of two columns; paths of images are relative to ``folder``."""
    pa, _ = import_pyarrow()
    image = _plain(image)
    if pa.types.is_struct(image.type):
        images, paths = (cells(part) for part in _fields(image))
    elif pa.types.is_null(image.type) or "binary" in str(image.type):
        images, paths = cells(image), [None] * len(image)
    else:
        images, paths = [None] * len(image), cells(image)

    def file(path: bytes) -> File:
        return File(path.decode(errors="surrogateescape"), folder, named=True)

    return [
        (words, file(path) if data is None and path is not None else data)
        for words, data, path in zip(cells(text), images, paths)
    ]


def _fields(image: pa.StructArray) -> list[pa.Array]:
    """The fields bytes and path, null where the struct is (``field`` alone would forget that)."""
    pa, _ = import_pyarrow()
    parts = {field.name: part for field, part in zip(image.type, image.flatten())}
    return [parts.get(name, pa.nulls(len(image))) for name in ("bytes", "path")]


def cells(column: pa.Array) -> list[bytes | None]:
    """Text or bytes as bytes: texts need not be what they are said to be, valid UTF-8.

    Of what is too long for an image there is just enough for that to be seen.
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

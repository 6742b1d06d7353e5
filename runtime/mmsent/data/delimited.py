"""Lists with a header and one row per line, separated by commas, tabs or semicolons."""

import csv
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from mmsent.data.columns import Cells, Columns
from mmsent.errors import InputError
from mmsent.files.bounded import open_file

MAX_LINE = 1 << 20
"""Lists with a longer line (in characters) are refused."""
DELIMITERS = (",", "\t", ";")
"""The separators; the first one that the header contains is used."""


def read_names(path: Path) -> list[str]:
    """The names of the columns. Raises InputError if the list can't be read."""
    with _open(path) as (names, _):
        return names


def read_cells(
    path: Path, columns: Columns, *, labelled: bool = False, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The rows from ``start`` on with their line numbers; a bad row is its problem as text.

    Reads one row at a time, and refuses lines longer than MAX_LINE. Fields are stripped, and an
    empty one is None. A byte-order mark, CRLF and blank lines are accepted. ``labelled`` has no
    effect.
    Raises InputError if the list can't be read.
    """
    with _open(path) as (names, reader):
        guid, text, image, label, split = (
            names.index(columns[role]) if role in columns else -1
            for role in ("guid", "text", "image", "label", "split")
        )
        for fields in reader:
            cells = [field.strip() for field in fields]
            if not any(cells):
                continue
            if start:
                start -= 1
                continue
            if len(cells) != len(names):
                yield reader.line_num, f"{len(cells)} fields, but the header has {len(names)}"
                continue
            cells.append("")  # -1: the column does not exist
            # An empty text cell is an empty text, like an empty file; other empty cells are None.
            content = None if text < 0 else cells[text].encode()
            yield (
                reader.line_num,
                Cells(
                    cells[guid], content, cells[image] or None, cells[label] or None,
                    cells[split] or None,
                ),
            )  # fmt: skip


@contextmanager
def _open(path: Path) -> Iterator[tuple[list[str], Any]]:
    """The names in the header, and a csv.reader of the rows after it."""
    reader = None
    try:
        # utf-8-sig drops a byte-order mark
        with TextIOWrapper(open_file(path, str(path)), "utf-8-sig", newline="") as file:
            lines = _lines(file)
            first = next(lines, "")
            delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
            reader = csv.reader(
                chain([first], lines),
                delimiter="\t" if path.suffix.lower() == ".tsv" else delimiter,
                skipinitialspace=True,
                strict=True,
            )
            yield [name.strip() for name in next(reader, [])], reader
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        place = f"byte {error.start}"
        raise InputError(f"{path} is not UTF-8 ({place}); save it as UTF-8") from None
    except csv.Error as error:
        line = reader.line_num if reader else 1
        if "field limit" in str(error):  # of the csv module, for all its users
            limit = csv.field_size_limit()
            raise InputError(
                f"{path} line {line}: a cell is longer than {limit} characters; shorten it, or "
                "write JSON Lines or Parquet"
            ) from None
        raise InputError(f"{path} is not a CSV file: line {line}: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, without reading a huge line into memory first."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"the line is longer than {MAX_LINE} characters")
        yield line

"""Lists with a header and then a row a line: CSV, and the like with tabs or semicolons."""

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
"""The first of these that the header holds stands between the fields."""


def read_names(path: Path) -> list[str]:
    """The names of the columns. Raises InputError where the list can't be read."""
    with _open(path) as (names, _):
        return names


def read_cells(
    path: Path, columns: Columns, *, labelled: bool = False, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The rows from ``start`` on with their lines, a bad one as what is wrong with it.

    Reads one row at a time, however long the list is, and no line longer than MAX_LINE. Fields are
    stripped, and an empty one is None; a byte-order mark, CRLF and blank lines are accepted.
    ``labelled`` changes nothing.
    Raises InputError where the list can't be read.
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
                yield reader.line_num, f"{len(cells)} fields where the header has {len(names)}"
                continue
            cells.append("")  # at -1: what there is no column for
            # An empty text is one, as an empty text file is; nothing else can be empty.
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
        raise InputError(f"{path} is not a CSV file: line {line}: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, without first taking one of gigabytes into memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"the line is longer than {MAX_LINE} characters")
        yield line

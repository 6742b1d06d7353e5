"""Lists of JSON objects, one per line: .jsonl and .ndjson."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

from mmsent.data.columns import Cells, Columns, plain
from mmsent.data.labels import NESTED, SEVERAL_LABELS
from mmsent.errors import InputError
from mmsent.files.bounded import open_file

MAX_LINE = 1 << 22
"""Lists with a longer line (in characters) are refused."""
FIRST = 100
"""Objects that are read to find the columns; one object may lack some keys."""


def read_names(path: Path) -> list[str]:
    """The keys of the first objects. Raises InputError if it has none, or can't be read."""
    names: dict[str, None] = {}
    first, seen = "", False
    with _open(path) as lines:
        for line, content, fault in islice(lines, FIRST):
            names |= dict.fromkeys(content)
            seen = True
            first = first or (fault and f" line {line}: {fault}")
    if not names:
        fault = first or (" has no keys" if seen else " is empty")
        raise InputError(
            f"{path}{fault}; each line must be an object with the keys of a row, such as "
            '{"text": …, "image": …, "label": …}'
        )
    return [*names]


def read_cells(
    path: Path, columns: Columns, *, labelled: bool, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The rows from ``start`` on with their line numbers; a bad row is its problem as text.

    Skips blank lines. Reads one line at a time, and refuses lines longer than MAX_LINE. Without
    ``labelled``, a list of labels becomes NESTED. Raises InputError if the list can't be read.
    """
    with _open(path) as lines:
        for line, content, fault in islice(lines, start, None):
            yield line, fault or _cells(content, columns, labelled=labelled)


def _cells(content: dict[str, Any], columns: Columns, *, labelled: bool) -> Cells | str:
    """The row of an object, or its problem as text."""
    cells: dict[str, Any] = {}
    for role, name in columns.items():
        value = content.get(name)
        if isinstance(value, (list, dict)):
            if role == "label" and labelled:
                return f"{name!r} {SEVERAL_LABELS}"
            if role != "label":
                return f"{name!r} is a list or an object, but the {role} must be a single value"
            value = NESTED
        if value is None or (cell := plain(value)) is None:
            continue
        try:
            encoded = cell.encode()
        except UnicodeEncodeError:
            return "it contains half of a surrogate pair"
        cells[role] = encoded if role == "text" else cell
    return Cells(**cells)


@contextmanager
def _open(path: Path) -> Iterator[Iterator[tuple[int, dict[str, Any], str]]]:
    """Each line's number and its object, or its problem as text; None for a blank line."""

    def lines() -> Iterator[tuple[int, dict[str, Any], str]]:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE and not line.endswith("\n"):
                raise InputError(f"{path} line {number} is longer than {MAX_LINE} characters")
            if not line.strip():
                continue
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, {}, f"the line is not JSON ({error})"
            else:
                sound = isinstance(content, dict)
                yield (
                    number,
                    content if sound else {},
                    "" if sound else "the line is not a JSON object",
                )

    try:
        with TextIOWrapper(open_file(path, str(path)), "utf-8-sig") as file:
            yield lines()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        place = f"byte {error.start}"
        raise InputError(f"{path} is not UTF-8 ({place}); save it as UTF-8") from None

"""A dataset folder: its lists (CSV: guid,tag) and, for each guid, a text and an image.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from mmsent.errors import InputError, Problem
from mmsent.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, open_file, read_file
from mmsent.text import decode_text

LABELS = ("negative", "neutral", "positive")
TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"

_NO_LABEL = ("", "null")  # how the task writes a label that is to be predicted
_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_UNSAFE = re.compile(r"[/\\:]")  # a guid is part of a file's name, never a path
# A spreadsheet that opens the predictions would compute such a guid. Ids like -12 and -dQw4w9WgXcQ
# are let through: without an operator or a call there is nothing in them to compute.
_FORMULA = re.compile(r"[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\w.-]*$)")  # full-width ones, too

MAX_LINE = 1 << 20
"""Lists with a longer line (in characters) are refused."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list; ``label`` is None where the list leaves it open."""

    line: int
    guid: str
    label: str | None


def text_file(folder: Path, guid: str) -> str:
    """Where the text of ``guid`` lies."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str) -> str:
    """Where the image of ``guid`` lies; its content may be of any format."""
    return os.path.join(folder, "data", f"{guid}.jpg")


def read_list(path: Path, problems: list[Problem], *, labelled: bool = False) -> Iterator[Row]:
    """Yield the rows of a list; append what is wrong with the others to ``problems``.

    Reads one row at a time, however long the list is, and no line longer than MAX_LINE. Fields are
    stripped, columns are found by the header's names, and a byte-order mark, CRLF and blank lines
    are accepted. With ``labelled`` every row must carry one of LABELS; otherwise ``tag`` is
    optional and may say anything.
    Raises InputError where the file can't be read or is no such list.
    """

    def problem(line: int, guid: str, message: str) -> None:
        problems.append(Problem(path.name, line, guid, path.name, message))

    try:
        # utf-8-sig drops a byte-order mark
        with TextIOWrapper(open_file(path, str(path)), "utf-8-sig", newline="") as file:
            reader = csv.reader(_lines(file), skipinitialspace=True, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            missing = {"guid", "tag"} - set(header) if labelled else {"guid"} - set(header)
            if missing:
                raise InputError(
                    f"{path}: the first line must name the columns guid,tag; "
                    f"it lacks {' and '.join(sorted(missing))}"
                )
            guid_column = header.index("guid")
            tag_column = header.index("tag") if "tag" in header else None
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    count = f"{len(fields)} fields where the header has {len(header)}"
                    problem(reader.line_num, fields[0].strip(), count)
                    continue
                guid = fields[guid_column].strip()
                tag = "" if tag_column is None else fields[tag_column].strip()
                fault = _guid_fault(guid) or (_label_fault(tag) if labelled else None)
                if fault:
                    problem(reader.line_num, guid, fault)
                else:
                    yield Row(reader.line_num, guid, None if tag in _NO_LABEL else tag)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, without first taking one of gigabytes into memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"the line is longer than {MAX_LINE} characters")
        yield line


def _guid_fault(guid: str) -> str | None:
    if not guid:
        return "the guid is missing"
    if match := _FLOAT.fullmatch(guid):
        return (
            f"the guid is a number with a decimal point: some program read the guids as "
            f"floating-point numbers; write {match[1]}"
        )
    if _UNSAFE.search(guid) or guid in (".", "..") or not guid.isprintable():
        return "a guid can't hold slashes, colons or control characters"
    if _FORMULA.match(guid):
        return "a spreadsheet would take the guid for a formula"
    return None


def _label_fault(tag: str) -> str | None:
    if tag in _NO_LABEL:
        return f"the label is missing; it must be one of {', '.join(LABELS)}"
    if tag not in LABELS:
        return f"unknown label {tag!r}; it must be one of {', '.join(LABELS)}"
    return None


def find_duplicates(rows: Iterable[Row], list_name: str) -> list[Problem]:
    """One problem for each row whose guid an earlier row has."""
    first: dict[str, int] = {}
    problems = []
    for row in rows:
        if (line := first.setdefault(row.guid, row.line)) != row.line:
            message = f"the guid stands on line {line} already"
            problems.append(Problem(list_name, row.line, row.guid, list_name, message))
    return problems


def read_text(folder: Path, guid: str) -> tuple[str, str]:
    """The text of ``guid`` and its encoding. Raises InputError with the reason."""
    path = text_file(folder, guid)
    return decode_text(read_file(path, "the text", limit=MAX_TEXT_BYTES, inside=folder))


def read_image(folder: Path, guid: str) -> bytes:
    """The image file of ``guid``, still encoded. Raises InputError with the reason."""
    path = image_file(folder, guid)
    return read_file(path, "the image", limit=MAX_IMAGE_BYTES, inside=folder)


def check_files(rows: Iterable[Row], folder: Path, list_name: str) -> Iterator[Row | Problem]:
    """Yield each row whose text decodes and whose image exists, and each problem of the others."""
    for row in rows:
        text, image = text_file(folder, row.guid), image_file(folder, row.guid)
        whole = True
        try:
            read_text(folder, row.guid)
        except InputError as error:
            yield Problem(list_name, row.line, row.guid, text, str(error))
            whole = False
        try:
            if not _is_plain(image):  # missing, a link, or worse
                open_file(image, "the image", inside=folder).close()
        except InputError as error:
            yield Problem(list_name, row.line, row.guid, image, str(error))
            whole = False
        if whole:
            yield row


def _is_plain(path: str) -> bool:
    """Whether a regular file lies at ``path`` itself: the answer for almost all, for one lstat."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False

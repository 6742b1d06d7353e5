"""A dataset folder: its lists (CSV: guid,tag) and, for each guid, a text and an image.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsent.errors import InputError, Problem
from mmsent.text import decode_text

LABELS = ("negative", "neutral", "positive")
TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"

_NO_LABEL = ("", "null")  # how the task writes a label that is to be predicted
_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_UNSAFE = re.compile(r"[/\\:\x00-\x1f\x7f]")  # a guid is part of a file's name, never a path


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

    Reads one row at a time, however long the list is. Fields are stripped, columns are found by
    the header's names, and a byte-order mark, CRLF and blank lines are accepted. With ``labelled``
    every row must carry one of LABELS; otherwise ``tag`` is optional and may say anything.
    Raises InputError where the file can't be read or is no such list.
    """

    def problem(line: int, guid: str, message: str) -> None:
        problems.append(Problem(path.name, line, guid, path.name, message))

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
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
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; --data names the dataset folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None


def _guid_fault(guid: str) -> str | None:
    if not guid:
        return "the guid is missing"
    if match := _FLOAT.fullmatch(guid):
        return (
            f"the guid is a number with a decimal point: some program read the guids as "
            f"floating-point numbers; write {match[1]}"
        )
    if _UNSAFE.search(guid) or guid in (".", ".."):
        return "a guid can't hold slashes, colons or control characters"
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
    try:
        with open(text_file(folder, guid), "rb") as file:
            return decode_text(file.read())
    except FileNotFoundError:
        raise InputError("the text does not exist") from None
    except OSError as error:
        raise InputError(f"the text can't be read ({error.strerror})") from None


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
        if not os.path.isfile(image):
            yield Problem(list_name, row.line, row.guid, image, "the image does not exist")
            whole = False
        if whole:
            yield row

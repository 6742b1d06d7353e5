"""A dataset folder: its lists (CSV: guid,tag) and, for each guid, a text and an image.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg

A Parquet file (mmsent.data.parquet) may stand in for a list: its rows bring texts and images along.
Whatever reads a pair does it through text_of and image_of, and need not know where it lies.
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
from mmsent.files.bounded import (
    MAX_IMAGE_BYTES,
    MAX_TEXT_BYTES,
    open_file,
    path_inside,
    read_file,
    within,
)
from mmsent.inputs.text import decode_text

LABELS = ("negative", "neutral", "positive")
TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"

NO_LABEL = ("", "null")  # how the task writes a label that is to be predicted
_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_UNSAFE = re.compile(r"[/\\:]")  # a guid is part of a file's name, never a path
# A spreadsheet that opens the predictions would compute such a guid. Ids like -12 and -dQw4w9WgXcQ
# are let through: without an operator or a call there is nothing in them to compute.
_FORMULA = re.compile(r"[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\w.-]*$)")  # full-width ones, too

MAX_LINE = 1 << 20
"""Lists with a longer line (in characters) are refused."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A pair that its row brings along: bytes of its text and image, None where there are none.

    An image without bytes may have a path, relative to the dataset folder.
    """

    text: bytes | None
    image: bytes | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list; ``label`` is None where the list leaves it open.

    ``packed`` is None where text and image are files of the dataset folder.
    """

    line: int
    guid: str
    label: str | None
    packed: Packed | None = None


def is_parquet(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, by its name, and no folder."""
    return path.suffix.lower() == ".parquet" and not path.is_dir()


def training_list(data: Path) -> tuple[Path, Path]:
    """The labelled list of a dataset, and the dataset folder: ``data`` or, for Parquet, its own."""
    return (data, data.parent) if is_parquet(data) else (data / TRAIN_LIST, data)


def text_file(folder: Path, guid: str) -> str:
    """Where the text of ``guid`` lies."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str) -> str:
    """Where the image of ``guid`` lies; its content may be of any format."""
    return os.path.join(folder, "data", f"{guid}.jpg")


def read_list(path: Path, problems: list[Problem], *, labelled: bool = False) -> Iterator[Row]:
    """Yield the rows of a list; append what is wrong with the others to ``problems``.

    ``path`` is a CSV file, or a Parquet file: mmsent.data.parquet.read_parquet.
    Reads one row at a time, however long the list is, and no line longer than MAX_LINE. Fields are
    stripped, columns are found by the header's names, and a byte-order mark, CRLF and blank lines
    are accepted. With ``labelled`` every row must carry one of LABELS; otherwise ``tag`` is
    optional and may say anything.
    Raises InputError where the file can't be read or is no such list.
    """
    if is_parquet(path):
        from mmsent.data.parquet import read_parquet

        yield from read_parquet(path, problems, labelled=labelled)
        return

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
                row = make_row(reader.line_num, guid, tag, path.name, labelled=labelled)
                if isinstance(row, Problem):
                    problems.append(row)
                else:
                    yield row
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


def make_row(
    line: int,
    guid: str,
    tag: str,
    list_name: str,
    *,
    labelled: bool,
    packed: Packed | None = None,
) -> Row | Problem:
    """The row of a list that says ``guid`` and ``tag``, or what is wrong with it."""
    fault = _guid_fault(guid) or (_label_fault(tag) if labelled else None)
    if fault:
        return Problem(list_name, line, guid, list_name, fault)
    return Row(line, guid, None if tag in NO_LABEL else tag, packed)


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
    if tag in NO_LABEL:
        return f"the label is missing; it must be one of {', '.join(LABELS)}"
    if tag not in LABELS:
        return f"unknown label {tag!r}; it must be one of {', '.join(LABELS)}"
    return None


def find_duplicates(rows: Iterable[Row], list_name: str) -> list[Problem]:
    """One problem for each row whose guid an earlier row has."""
    return [item for item in mark_duplicates(rows, list_name) if isinstance(item, Problem)]


def mark_duplicates(rows: Iterable[Row], list_name: str) -> Iterator[Row | Problem]:
    """Yield each row, or a problem where an earlier row has its guid."""
    first: dict[str, int] = {}
    for row in rows:
        if (line := first.setdefault(row.guid, row.line)) != row.line:
            message = f"the guid stands on line {line} already"
            yield Problem(list_name, row.line, row.guid, list_name, message)
        else:
            yield row


def read_text(folder: Path, guid: str) -> tuple[str, str]:
    """The text of ``guid`` and its encoding. Raises InputError with the reason."""
    path = text_file(folder, guid)
    return decode_text(read_file(path, "the text", limit=MAX_TEXT_BYTES, inside=folder))


def read_image(folder: Path, guid: str) -> bytes:
    """The image file of ``guid``, still encoded. Raises InputError with the reason."""
    path = image_file(folder, guid)
    return read_file(path, "the image", limit=MAX_IMAGE_BYTES, inside=folder)


def text_of(folder: Path, row: Row) -> tuple[str, str]:
    """The text of a row, packed or in ``folder``, and its encoding. Raises InputError."""
    if row.packed is None:
        return read_text(folder, row.guid)
    if row.packed.text is None:
        raise InputError("the text is missing (null)")
    return decode_text(within(row.packed.text, "the text", limit=MAX_TEXT_BYTES))


def image_of(folder: Path, row: Row) -> bytes:
    """The image of a row, packed or in ``folder``, still encoded. Raises InputError."""
    if row.packed is None:
        return read_image(folder, row.guid)
    if row.packed.image is not None:
        return within(row.packed.image, "the image", limit=MAX_IMAGE_BYTES)
    if row.packed.path is None:
        raise InputError("the image is missing (null)")
    path = path_inside(folder, row.packed.path, "the image")
    return read_file(path, "the image", limit=MAX_IMAGE_BYTES)


def text_place(folder: Path, row: Row, list_name: str) -> str:
    """Where the text of a row lies, for messages."""
    return text_file(folder, row.guid) if row.packed is None else list_name


def image_place(folder: Path, row: Row, list_name: str) -> str:
    """Where the image of a row lies, for messages."""
    if row.packed is None:
        return image_file(folder, row.guid)
    return list_name if row.packed.path is None or row.packed.image is not None else row.packed.path


def check_files(rows: Iterable[Row], folder: Path, list_name: str) -> Iterator[Row | Problem]:
    """Yield each row whose text decodes and whose image exists, and each problem of the others."""
    for row in rows:
        text, image = text_place(folder, row, list_name), image_place(folder, row, list_name)
        whole = True
        try:
            text_of(folder, row)
        except InputError as error:
            yield Problem(list_name, row.line, row.guid, text, str(error))
            whole = False
        try:
            if row.packed is not None:
                image_of(folder, row)
            elif not _is_plain(image):  # missing, a link, or worse
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

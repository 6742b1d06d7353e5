"""The task's folder: lists in CSV (guid,tag) and, for each guid, a text and an image.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TextIO

from mmsent.data.pair import File, Pair, make_pair
from mmsent.errors import InputError, Problem
from mmsent.files.bounded import open_file

TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"

MAX_LINE = 1 << 20
"""Lists with a longer line (in characters) are refused."""


def text_file(folder: Path, guid: str) -> str:
    """Where the text of ``guid`` is."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str) -> str:
    """Where the image of ``guid`` is; its content may be of any format."""
    return os.path.join(folder, "data", f"{guid}.jpg")


@dataclass(frozen=True)
class FolderDataset:
    """A list in CSV; the texts and images are files in the folder ``data`` of ``folder``."""

    path: Path
    folder: Path

    @property
    def name(self) -> str:
        """The list's name."""
        return self.path.name

    def rows(
        self, *, labelled: bool = False, contents: bool = True, start: int = 0
    ) -> Iterator[Pair | Problem]:
        """The rows, as `mmsent.data.dataset.Dataset` has them.

        Reads one row at a time, however long the list is, and no line longer than MAX_LINE. Fields
        are stripped, columns are found by the header's names, and a byte-order mark, CRLF and blank
        lines are accepted. Without ``labelled`` the column ``tag`` is optional.
        """
        return islice(self._rows(labelled), start, None)

    def _rows(self, labelled: bool) -> Iterator[Pair | Problem]:
        try:
            # utf-8-sig drops a byte-order mark
            with TextIOWrapper(
                open_file(self.path, str(self.path)), "utf-8-sig", newline=""
            ) as file:
                reader = csv.reader(_lines(file), skipinitialspace=True, strict=True)
                header = [name.strip().lower() for name in next(reader, [])]
                missing = {"guid", *(["tag"] if labelled else [])} - set(header)
                if missing:
                    raise InputError(
                        f"{self.path}: the first line must name the columns guid,tag; "
                        f"it lacks {' and '.join(sorted(missing))}"
                    )
                guid_column = header.index("guid")
                tag_column = header.index("tag") if "tag" in header else None
                for fields in reader:
                    if not any(field.strip() for field in fields):
                        continue
                    if len(fields) != len(header):
                        fault = f"{len(fields)} fields where the header has {len(header)}"
                        guid = fields[0].strip()
                        yield Problem(self.name, reader.line_num, guid, self.name, fault)
                        continue
                    guid = fields[guid_column].strip()
                    tag = "" if tag_column is None else fields[tag_column].strip()
                    text = File(text_file(self.folder, guid), self.folder)
                    image = File(image_file(self.folder, guid), self.folder)
                    yield make_pair(
                        self.name, reader.line_num, guid, tag,
                        labelled=labelled, text=text, image=image,
                    )  # fmt: skip
        except OSError as error:
            raise InputError(f"{self.path} can't be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            place = f"byte {error.start}"
            raise InputError(f"{self.path} is not UTF-8 ({place}); save it as UTF-8") from None
        except csv.Error as error:
            line = reader.line_num
            raise InputError(f"{self.path} is not a CSV file: line {line}: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, without first taking one of gigabytes into memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"the line is longer than {MAX_LINE} characters")
        yield line

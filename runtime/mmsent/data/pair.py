"""One row of a list, with its text and image wherever they are."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mmsent.errors import InputError, Problem
from mmsent.files.bounded import (
    MAX_IMAGE_BYTES,
    MAX_TEXT_BYTES,
    open_file,
    path_inside,
    read_file,
    within,
)
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text

T = TypeVar("T")
Part = Literal["text", "image"]

LABELS = ("negative", "neutral", "positive")
NO_LABEL = ("", "null")  # how the task writes a label that is to be predicted

_LIMITS: dict[Part, int] = {"text": MAX_TEXT_BYTES, "image": MAX_IMAGE_BYTES}
_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_UNSAFE = re.compile(r"[/\\:]")  # a guid is part of a file's name, never a path
# A spreadsheet that opens the predictions would compute such a guid. Ids like -12 and -dQw4w9WgXcQ
# are let through: without an operator or a call there is nothing in them to compute.
_FORMULA = re.compile(r"[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\w.-]*$)")  # full-width ones, too


@dataclass(frozen=True, slots=True)
class File:
    """A text or an image in a file of the dataset folder ``folder``.

    ``place`` is its path: in the data folder, made from the guid (see `open_file`, ``inside``) or,
    where the list names it, relative to the folder (see `path_inside`).
    """

    place: str
    folder: Path
    named: bool = False

    def read(self, what: str, *, limit: int) -> bytes:
        """All of it; ``what`` names it in messages. Raises InputError with the reason."""
        path, inside = self._where(what)
        return read_file(path, what, limit=limit, inside=inside)

    def check(self, what: str) -> None:
        """Raise InputError where it is not there; it is not read."""
        try:  # one lstat answers for almost all files
            plain = not self.named and stat.S_ISREG(os.lstat(self.place).st_mode)
        except (OSError, ValueError):
            plain = False
        if not plain:  # missing, a link, or worse
            path, inside = self._where(what)
            open_file(path, what, inside=inside).close()

    def _where(self, what: str) -> tuple[str, Path | None]:
        if self.named:
            return path_inside(self.folder, self.place, what), None
        return self.place, self.folder


Source = File | bytes
"""Where a text or an image is; bytes: in the list itself."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of a list.

    ``label`` is None where the list leaves it open, ``text`` or ``image`` where the row has none.
    ``list`` is the list's name and ``line`` the row's place in it, for messages: see Problem.
    """

    guid: str
    label: str | None
    list: str
    line: int
    text: Source | None
    image: Source | None

    def read(self, part: Part) -> bytes:
        """The bytes of the text or image, of bounded size. Raises InputError with the reason."""
        source = self.text if part == "text" else self.image
        if source is None:
            raise InputError(f"the {part} is missing")
        if isinstance(source, File):
            return source.read(f"the {part}", limit=_LIMITS[part])
        return within(source, f"the {part}", limit=_LIMITS[part])

    def read_text(self) -> str:
        """The text, decoded. Raises InputError with the reason."""
        return decode_text(self.read("text"))[0]

    def load_image(self, settings: ImageSettings) -> npt.NDArray[np.uint8]:
        """The image's pixels, uint8 [size, size, 3]. Raises InputError with the reason."""
        return load_image(self.read("image"), settings)

    def problem(self, part: Part, reason: object) -> Problem:
        """What is wrong with the text or image."""
        source = self.text if part == "text" else self.image
        file = source.place if isinstance(source, File) else self.list
        return Problem(self.list, self.line, self.guid, file, str(reason))

    def attempt(self, part: Part, read: Callable[[], T]) -> T | Problem:
        """What ``read`` returns or, where it raises InputError, what is wrong with ``part``."""
        try:
            return read()
        except InputError as error:
            return self.problem(part, error)

    def check(self) -> Sequence[Problem]:
        """What is wrong: a text that can't be decoded, an image that is not there."""

        def check_image() -> None:
            if isinstance(self.image, File):
                self.image.check("the image")
            else:
                self.read("image")

        found = (self.attempt("text", self.read_text), self.attempt("image", check_image))
        return [item for item in found if isinstance(item, Problem)]

    @property
    def size(self) -> int:
        """How many bytes of its text and image are in memory."""
        return sum(len(part) for part in (self.text, self.image) if isinstance(part, bytes))

    def without_content(self) -> Pair:
        """The pair without the bytes it holds: it still names its problems."""
        parts = (None if isinstance(part, bytes) else part for part in (self.text, self.image))
        return Pair(self.guid, self.label, self.list, self.line, *parts)


def make_pair(
    list_name: str,
    line: int,
    guid: str,
    tag: str,
    *,
    labelled: bool,
    text: Source | None = None,
    image: Source | None = None,
) -> Pair | Problem:
    """The pair of a row that says ``guid`` and ``tag``, or what is wrong with the row.

    With ``labelled``, ``tag`` must be one of LABELS; otherwise it may be anything.
    """
    fault = _guid_fault(guid) or (_label_fault(tag) if labelled else None)
    if fault:
        return Problem(list_name, line, guid, list_name, fault)
    return Pair(guid, None if tag in NO_LABEL else tag, list_name, line, text, image)


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

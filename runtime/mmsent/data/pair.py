"""One row of a list, and the location of its text and image."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mmsent.data.labels import FORMULA, NO_LABEL, label_fault
from mmsent.errors import InputError, Problem
from mmsent.files.bounded import (
    MAX_IMAGE_BYTES,
    MAX_TEXT_BYTES,
    open_file,
    path_inside,
    read_file,
    within,
)
from mmsent.inputs.image import ImageSettings, load_image, missing_image
from mmsent.inputs.text import decode_text

T = TypeVar("T")
Part = Literal["text", "image"]
PARTS: tuple[Part, ...] = ("text", "image")

_LIMITS: dict[Part, int] = {"text": MAX_TEXT_BYTES, "image": MAX_IMAGE_BYTES}
_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_UNSAFE = re.compile(r"[/\\:]")  # a guid is part of a file name, never a path


@dataclass(frozen=True, slots=True)
class File:
    """A text or an image in a file of the dataset folder ``folder``.

    ``place``: its path. Either it was made from the guid and is in the data folder (see
    `open_file`, ``inside``), or the list names it, relative to the folder (see `path_inside`).
    ``others``: alternative paths; only one of all these files may exist.
    """

    place: str
    folder: Path
    named: bool = False
    others: tuple[str, ...] = ()

    def read(self, what: str, *, limit: int) -> bytes:
        """The content; ``what`` names it in messages. Raises InputError with the reason."""
        path, inside = self._where(what)
        return read_file(path, what, limit=limit, inside=inside)

    def check(self, what: str) -> None:
        """Raise InputError if the file is missing, or exists twice; it is not read."""
        path, inside = self._where(what)
        try:  # for almost all files, one lstat is enough
            plain = inside is not None and stat.S_ISREG(os.lstat(path).st_mode)
        except (OSError, ValueError):
            plain = False
        if not plain:  # missing, a link, or something else
            open_file(path, what, inside=inside).close()

    def exists(self) -> bool:
        """Whether any of the files exists."""
        if self.named:
            return os.path.lexists(os.path.join(self.folder, self._named()))
        return any(map(os.path.lexists, (self.place, *self.others)))

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        place = self.place
        if self.others and not os.path.lexists(place):
            place = next(filter(os.path.lexists, self.others), place)
        return os.path.basename(place.replace("\\", "/"))

    def _named(self) -> str:
        """The path in this system's form: lists from Windows separate folders by backslashes."""
        place = self.place
        if "\\" in place and not os.path.lexists(os.path.join(self.folder, place)):
            return place.replace("\\", "/")
        return place

    def _where(self, what: str) -> tuple[str, Path | None]:
        if self.named:
            return path_inside(self.folder, self._named(), what), None
        if not self.others:
            return self.place, self.folder
        found: dict[tuple[int, int], str] = {}  # if file names ignore case, 1.JPG is 1.jpg
        for place in (self.place, *self.others):
            try:
                status = os.lstat(place)
            except (OSError, ValueError):
                continue
            found.setdefault((status.st_dev, status.st_ino), place)
        if len(found) > 1:
            names = ", ".join(map(os.path.basename, found.values()))
            raise InputError(f"{what} exists more than once ({names}); keep one of them")
        return next(iter(found.values()), self.place), self.folder


Source = File | bytes
"""The location of a text or an image; bytes: stored in the list itself."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of a list.

    ``label``: None if the row has none or it is to be predicted. ``text`` and ``image``: None if
    the row has none. ``list`` and ``line``: the row's place, for messages; see Problem. ``split``:
    the part of the dataset that the row belongs to, or None.
    """

    guid: str
    label: str | None
    list: str
    line: int
    text: Source | None
    image: Source | None
    split: str | None = None

    def read(self, part: Part) -> bytes:
        """The bytes of the text or image, of limited size. Raises InputError with the reason."""
        source = self.text if part == "text" else self.image
        if source is None:
            other = "image" if part == "text" else "text"
            raise InputError(
                f"the {part} is missing; `mmsent train --modality {other}` does not need it"
            )
        if isinstance(source, File):
            return source.read(f"the {part}", limit=_LIMITS[part])
        return within(source, f"the {part}", limit=_LIMITS[part])

    def read_text(self) -> str:
        """The decoded text; "" if the pair has none. Raises InputError with the reason."""
        return "" if self.lacks("text") else decode_text(self.read("text"))[0]

    def load_image(self, settings: ImageSettings) -> npt.NDArray[np.uint8]:
        """The image's pixels, uint8 [size, size, 3]; grey if the pair has none.

        Raises InputError with the reason.
        """
        if self.lacks("image"):
            return missing_image(settings)
        return load_image(self.read("image"), settings)

    def problem(self, part: Part, reason: object) -> Problem:
        """A problem with the text or image."""
        source = self.text if part == "text" else self.image
        file = source.place if isinstance(source, File) else self.list
        return Problem(self.list, self.line, self.guid, file, str(reason))

    def attempt(self, part: Part, read: Callable[[], T]) -> T | Problem:
        """The result of ``read`` or, if it raises InputError, the problem with ``part``."""
        try:
            return read()
        except InputError as error:
            return self.problem(part, error)

    def lacks(self, part: Part) -> bool:
        """Whether the row has no such part. A named file that does not exist is another case."""
        return (self.text if part == "text" else self.image) is None

    def is_absent(self, part: Part) -> bool:
        """Whether the row names a file for its text or image that does not exist."""
        source = self.text if part == "text" else self.image
        return isinstance(source, File) and not source.exists()

    def only(self, parts: Collection[Part]) -> Pair:
        """The pair with only the given ``parts``."""
        text = self.text if "text" in parts else None
        return replace(self, text=text, image=self.image if "image" in parts else None)

    def check(
        self, parts: Collection[Part] = PARTS, *, optional: Collection[Part] = ()
    ) -> Sequence[Problem]:
        """The problems of the given ``parts``: undecodable texts and missing images.

        The pair may lack the ``optional`` parts.
        """

        def check_text() -> None:
            decode_text(self.read("text"))

        def check_image() -> None:
            if isinstance(self.image, File):
                self.image.check("the image")
            else:
                self.read("image")

        checks: dict[Part, Callable[[], None]] = {"text": check_text, "image": check_image}
        found = (
            self.attempt(part, checks[part])
            for part in checks
            if part in parts and not (part in optional and self.lacks(part))
        )
        return [item for item in found if isinstance(item, Problem)]

    @property
    def size(self) -> int:
        """The bytes of its text and image in memory."""
        return sum(len(part) for part in (self.text, self.image) if isinstance(part, bytes))

    def without_content(self) -> Pair:
        """The pair without its bytes; it can still name its problems."""
        text, image = (
            None if isinstance(part, bytes) else part for part in (self.text, self.image)
        )
        return replace(self, text=text, image=image)


def make_pair(
    list_name: str,
    line: int,
    guid: str,
    label: str,
    *,
    labelled: bool,
    in_path: bool = False,
    text: Source | None = None,
    image: Source | None = None,
    split: str | None = None,
) -> Pair | Problem:
    """The pair of a row with this ``guid`` and ``label``, or the row's problem.

    ``labelled``: the row must have a valid label. ``in_path``: the guid is part of file names.
    """
    fault = None
    if not guid.isalnum():  # letters and digits are harmless, and almost all guids consist of them
        fault = _guid_fault(guid, in_path=in_path)
    fault = fault or (label_fault(label) if labelled else None)
    if fault:
        return Problem(list_name, line, guid, list_name, fault)
    known = None if label in NO_LABEL else label
    return Pair(guid, known, list_name, line, text, image, split)


def _guid_fault(guid: str, *, in_path: bool) -> str | None:
    if not guid:
        return "the guid is missing"
    if match := _FLOAT.fullmatch(guid):
        return (
            f"the guid is a number with a decimal point: some program read the guids as "
            f"floating-point numbers; write {match[1]}"
        )
    if (in_path and (_UNSAFE.search(guid) or guid in (".", ".."))) or not guid.isprintable():
        return "a guid can't contain slashes, colons or control characters"
    if FORMULA.match(guid):
        return "a spreadsheet would evaluate the guid as a formula"
    return None

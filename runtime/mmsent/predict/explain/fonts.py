"""Fonts for pictures: Pillow's own and, for characters that it lacks, installed ones."""

import logging
import os
import sys
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SUFFIXES = (".ttf", ".otf", ".ttc")
_SPECIAL = (
    "bold", "italic", "oblique", "mono", "serif", "light", "condensed", "math", "lastresort"
)  # fmt: skip
_NO_CHARACTER = "\uffff"  # what a font draws for it, it draws for every character that it lacks
_TEST_SIZE = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Typeface:
    """Draws and measures text in Pillow's font, and characters that it lacks in other fonts.

    ``others`` maps characters, alone and with the marks after them, to font files; ``escapes`` maps
    those that no font has.
    """

    others: dict[str, Path]
    escapes: dict[int, str]

    def width(self, text: str, size: int) -> float:
        """The width of ``text``, in pixels."""
        return sum(font.getlength(part) for font, part in self._parts(text, size))

    def draw(
        self,
        canvas: ImageDraw.ImageDraw,
        place: tuple[float, float],
        text: str,
        *,
        size: int,
        ink: str,
        bold: bool = False,
        outline: str | None = None,
    ) -> None:
        """Draw one line of ``text``; ``place``: the left end of its baseline, in pixels."""
        x, y = place
        stroke = 3 if outline else 0
        for font, part in self._parts(text, size):
            for shift in range(1 + bold):  # Pillow has no bold font
                canvas.text(
                    (x + shift, y), part, ink, font, "ls", stroke_width=stroke, stroke_fill=outline
                )
            x += font.getlength(part)

    def shorten(self, text: str, size: int, width: float) -> str:
        """``text``, truncated with an ellipsis if it is wider than ``width`` pixels."""
        if self.width(text, size) <= width:
            return text
        while text and self.width(f"{text}…", size) > width:
            text = text[:-1]
        return f"{text}…"

    def _parts(self, text: str, size: int) -> Iterator[tuple[Font, str]]:
        pieces: list[str] = []
        for cluster in _clusters(text.translate(self.escapes)):
            pieces += [cluster] if cluster in self.others else cluster
        for path, run in groupby(pieces, self.others.get):
            yield _font(path, size), "".join(run)


def find_typeface(text: str) -> Typeface:
    """A typeface for all characters of ``text``; those that no font has are escaped, and logged.

    Installed fonts are searched only if Pillow's lacks a character.
    """
    hidden = {char for char in text if _is_hidden(char)}
    shown = "".join(char for char in text if char not in hidden and char.isprintable())
    own = _lacking(_font(None, _TEST_SIZE), set(shown))
    lacking = own
    clusters = {cluster for cluster in _clusters(shown) if not own.isdisjoint(cluster)}
    others: dict[str, Path] = {}
    for path in _installed() if own else ():
        try:
            absent = _lacking(_font(path, _TEST_SIZE), set().union(*clusters))
        except OSError:  # damaged, or bitmaps of another size
            continue
        # A character and its marks are drawn together, by one font if there is one.
        whole = {cluster for cluster in clusters if absent.isdisjoint(cluster)}
        others = dict.fromkeys(lacking - absent, path) | others | dict.fromkeys(whole, path)
        lacking, clusters = lacking & absent, clusters - whole
        if not clusters:
            break
    if lacking:
        logger.warning(
            "no installed font has %s: the picture shows escapes; install Noto's font for the "
            "script, or write .html",
            " ".join(sorted(lacking)),
        )
    escapes = {ord(char): char.encode("unicode_escape").decode() for char in lacking}
    odd = {char for char in text if not char.isprintable()}
    blank = dict.fromkeys(map(ord, odd), " ") | dict.fromkeys(map(ord, hidden), "")
    return Typeface(others, escapes | blank)


def _is_hidden(char: str) -> bool:
    """Whether nothing is drawn for it: joiners, directions and variation selectors."""
    selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return selector or unicodedata.category(char) == "Cf"


def _clusters(text: str) -> Iterator[str]:
    """Each character with the combining marks after it."""
    cluster = ""
    for char in text:
        if cluster and not unicodedata.category(char).startswith("M"):
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


@cache
def _font(path: Path | None, size: int) -> Font:
    """A font file, or Pillow's own font. Raises OSError if it can't be read."""
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


def _lacking(font: Font, characters: Collection[str]) -> set[str]:
    """Those of ``characters`` that ``font`` draws like a noncharacter."""
    if isinstance(font, ImageFont.FreeTypeFont):  # shaping adds a dotted circle to a lone mark
        font = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    absent = _drawn(font, _NO_CHARACTER)
    return {char for char in characters if _drawn(font, char) == absent}


def _drawn(font: Font, char: str) -> bytes:
    image = Image.new("L", (3 * _TEST_SIZE, 3 * _TEST_SIZE))
    ImageDraw.Draw(image).text((_TEST_SIZE, 2 * _TEST_SIZE), char, 255, font, anchor="ls")
    return image.tobytes()


def _installed() -> list[Path]:
    """Font files, plain ones first."""
    home = Path.home()
    if sys.platform == "darwin":
        folders = [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    elif sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home))
        windows = Path(os.environ.get("WINDIR", r"C:\Windows"))
        folders = [windows / "Fonts", local / "Microsoft/Windows/Fonts"]
    else:
        shared = Path("/usr/local/share/fonts"), Path("/usr/share/fonts")
        folders = [home / ".local/share/fonts", home / ".fonts", *shared]
    found = [path for folder in folders for path in sorted(folder.rglob("*.*"))]
    fonts = [path for path in found if path.suffix.lower() in _SUFFIXES]
    return sorted(fonts, key=lambda path: any(word in path.stem.lower() for word in _SPECIAL))

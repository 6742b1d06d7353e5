"""Text in pictures: short enough for its place, and in characters that a font has."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from mmsent_training.evaluation.tables import columns

LAST_RESORT = "Last Resort"
"""How the name of the font begins whose glyphs are boxes, one for all characters of a script."""
SHOWN = 10
"""How many of the characters that no font has a warning shows."""
BOX = "□"

logger = logging.getLogger(__name__)


@contextmanager
def drawn_labels(labels: Sequence[str], width: int) -> Iterator[list[str]]:
    """The texts for ``labels`` in a picture that is drawn and saved within the block.

    They are shortened to ``width`` columns, but stay different. A character that the usual font
    lacks is taken from an installed font. One that no font has is escaped as in Python, with a
    warning.
    """
    fonts, lacking = find_fonts(frozenset("".join(labels)))
    if lacking:
        _warn(frozenset(lacking))
    escapes = {ord(char): char.encode("unicode_escape").decode() for char in lacking}
    short = [_shorten(label.translate(escapes), width) for label in labels]
    if len(set(short)) < len(short):
        short = [_shorten(f"{number}: {name}", width) for number, name in enumerate(short, 1)]
    with _with_fonts(fonts):
        yield short


@contextmanager
def drawn_texts(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts for ``texts`` in a picture that is drawn and saved within the block.

    A character that no font has becomes a box: posts are full of rare ones.
    """
    fonts, lacking = find_fonts(frozenset("".join(texts)))
    boxes = dict.fromkeys(map(ord, lacking), BOX)
    with _with_fonts(fonts):
        yield [text.translate(boxes) for text in texts]


@contextmanager
def _with_fonts(fonts: Sequence[str]) -> Iterator[None]:
    """Within the block, take missing characters from ``fonts``, and draw $ literally."""
    usual = rcParams["font.family"]
    with rc_context({"font.family": [*usual, *fonts], "text.parse_math": False}):
        yield


@cache
def find_fonts(characters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Installed fonts with ``characters`` that the usual font lacks, and those that none has."""
    lacking = _lacking(findfont(FontProperties()), characters)
    fonts: list[str] = []
    for font in fontManager.ttflist:
        if not lacking:
            break
        plain = font.style == "normal" and not font.name.startswith(LAST_RESORT)
        if not plain or _lacking(font.fname, lacking) == lacking:
            continue
        # A font is drawn by its name, and a bold file may have what the regular one lacks.
        if (still := _lacking(findfont(font.name), lacking)) < lacking:
            fonts.append(font.name)
            lacking = still
    return fonts, lacking


def _lacking(path: str, characters: Collection[str]) -> set[str]:
    """The ``characters`` that the font in a file lacks; all of them if it can't be read."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return set(characters)
    return {char for char in characters if not font.get_char_index(ord(char))}


@cache
def _warn(lacking: frozenset[str]) -> None:
    shown = " ".join(sorted(lacking)[:SHOWN])
    others = f" and {len(lacking) - SHOWN} others" if len(lacking) > SHOWN else ""
    logger.warning("pictures show escapes: no installed font has %s%s", shown, others)
    logger.warning("install a font that has them, such as Noto Sans CJK")


def points(text: str, size: float) -> float:
    """The width of one line of ``text`` in the usual fonts of ``size`` points, in points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width)


def wrap(text: str, width: float, size: float, lines: int) -> str:
    """``text`` in at most ``lines`` lines, ``width`` points wide in the usual fonts of ``size``.

    Lines break at spaces and, if a word is longer than a line, or in a script without spaces,
    anywhere. Omitted text is replaced by "…".
    """

    def measure(part: str) -> float:
        return points(part, size)

    rest = " ".join(text[: 100 * lines].split())
    wrapped: list[str] = []
    while rest:
        line = _start(rest, width, measure)
        if len(wrapped) + 1 == lines and len(line) < len(rest):
            wrapped.append(f"{_start(line, width - points('…', size), measure)}…")
            break
        if len(line) < len(rest) and not rest[len(line)].isspace() and " " in line:
            line = line[: line.rindex(" ")]
        wrapped.append(line)
        rest = rest[len(line) :].lstrip()
    return "\n".join(wrapped)


def _shorten(text: str, width: int) -> str:
    """``text`` without its middle if it is wider than ``width`` columns."""
    if columns(text) <= width:
        return text
    start = _start(text, 2 * width // 3, columns)
    return f"{start}…{_start(text[::-1], width - 1 - columns(start), columns)[::-1]}"


def _start(text: str, width: float, measure: Callable[[str], float]) -> str:
    """The longest beginning of ``text`` that is at most ``width`` wide by ``measure``."""
    lengths = range(len(text) + 1)
    return text[: bisect_right(lengths, width, key=lambda length: measure(text[:length])) - 1]

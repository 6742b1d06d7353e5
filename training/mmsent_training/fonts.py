"""Labels as pictures write them: short, all different, and in characters that a font has."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from mmsent_training.evaluation.metrics import columns

LAST_RESORT = "Last Resort"
"""How the name of the font begins whose glyphs are boxes, one for all characters of a script."""

logger = logging.getLogger(__name__)


@contextmanager
def drawn_labels(labels: Sequence[str], width: int) -> Iterator[list[str]]:
    """What a picture that is drawn and saved in the block writes for each of ``labels``.

    They are cut to ``width`` columns, but stay different. A character that the usual font lacks is
    taken from an installed one that has it; where none has, it is escaped as Python does it.
    """
    fonts, lacking = find_fonts(frozenset("".join(labels)))
    escapes = {ord(char): char.encode("unicode_escape").decode() for char in lacking}
    short = [_shorten(label.translate(escapes), width) for label in labels]
    if len(set(short)) < len(short):
        short = [_shorten(f"{number}: {name}", width) for number, name in enumerate(short, 1)]
    usual = rcParams["font.family"]
    with rc_context({"font.family": [*usual, *fonts], "text.parse_math": False}):
        yield short


@cache
def find_fonts(characters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Installed fonts with the ``characters`` that the usual font lacks, and what none has."""
    lacking = _lacking(findfont(FontProperties()), characters)
    fonts: list[str] = []
    for font in fontManager.ttflist:
        if not lacking:
            break
        plain = font.style == "normal" and not font.name.startswith(LAST_RESORT)
        if plain and (still := _lacking(font.fname, lacking)) < lacking:
            fonts.append(font.name)
            lacking = still
    if lacking:
        logger.warning(
            "no installed font has %s: pictures show escapes; install one, such as Noto Sans CJK",
            " ".join(sorted(lacking)),
        )
    return list(dict.fromkeys(fonts)), lacking


def _lacking(path: str, characters: Collection[str]) -> set[str]:
    """Those of the ``characters`` that the font in a file lacks: all, where it can't be read."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return set(characters)
    return {char for char in characters if not font.get_char_index(ord(char))}


def _shorten(text: str, width: int) -> str:
    """``text`` without its middle, where it is wider than ``width`` columns."""
    if columns(text) <= width:
        return text
    start = _start(text, 2 * width // 3)
    return f"{start}…{_start(text[::-1], width - 1 - columns(start))[::-1]}"


def _start(text: str, width: int) -> str:
    while columns(text) > width:
        text = text[:-1]
    return text

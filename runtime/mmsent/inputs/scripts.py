"""Scripts of texts, such as Latin, Cyrillic or Han, from the Unicode names of characters."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

SYMBOLS = "symbols"
"""Emoji and other signs that are not letters."""


def count_scripts(characters: Mapping[str, int]) -> dict[str, int]:
    """The number of letters of each script and of symbols, the most frequent first.

    ``characters``: the count of each character. Digits, marks, punctuation and spaces are ignored,
    since texts in every script contain them.
    """
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        if script := _script(character):
            counts[script] += count
    return dict(counts.most_common())


def main_script(text: str) -> str:
    """The script of most letters of ``text``; "symbols" if it has only those, otherwise "none"."""
    counts = count_scripts(Counter(text))
    return next((script for script in counts if script != SYMBOLS), SYMBOLS if counts else "none")


@lru_cache(1 << 16)
def _script(character: str) -> str | None:
    """The script of a letter: the first word of its name, as in CYRILLIC SMALL LETTER A."""
    plain = unicodedata.normalize("NFKC", character)[:1]  # full-width and mathematical letters
    category = unicodedata.category(plain)
    if category.startswith("L"):
        word = re.split("[ -]", unicodedata.name(plain, "unnamed"))[0].capitalize()
        return "Han" if word == "Cjk" else word
    return SYMBOLS if category == "So" else None

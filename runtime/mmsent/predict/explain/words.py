"""The words of a text, and the text without some of them.

One regular expression over explicit ranges of code points defines a word, so that every language
and every version of Unicode finds the same words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# Kana, Han: written without spaces.
_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_EMOJI = r"\u2600-\u27bf\U0001f000-\U0001faff"
_JOINER = r"\u200d\ufe0f"  # joins several emoji to one

_WORD = re.compile(
    f"[{_IDEOGRAPH}]|[{_EMOJI}][{_EMOJI}{_JOINER}]*|[^{_SPACE}{_IDEOGRAPH}{_EMOJI}]+"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a text, from ``start`` to ``end``, counted in code points."""

    start: int
    end: int


def find_words(text: str) -> list[Span]:
    """The words of ``text``, in order.

    A word is a single ideograph or kana, a run of emoji, or a run of anything else that is not
    white space; punctuation belongs to the word that it touches.
    """
    return [Span(*match.span()) for match in _WORD.finditer(text)]


def without(text: str, words: Sequence[Span], first: int, last: int) -> str:
    """``text`` without ``words[first:last]`` (at least one) and the white space after them.

    White space before the first word belongs to that word.
    """
    start = words[first].start if first else 0
    return text[:start] + text[_end(text, words, last) :]


def read_words(
    text: str, tokenize: Callable[[Sequence[str]], Sequence[Sequence[int]]]
) -> tuple[str, list[Span]]:
    """The part of ``text`` that a model reads before its tokenizer truncates, and its words.

    It is the shortest prefix of whole words with the same token ids as the full text, found by
    bisection. What comes after it can't affect the prediction. Without this, removing a word would
    make another one visible.
    """
    words = find_words(text)
    whole = tokenize([text])[0]
    low, high = 0, len(words)
    while low < high:
        middle = (low + high) // 2
        if tokenize([text[: _end(text, words, middle)]])[0] == whole:
            high = middle
        else:
            low = middle + 1
    return text[: _end(text, words, low)], words[:low]


def group(words: Sequence[Span], count: int) -> list[tuple[int, int]]:
    """Divide ``words`` into ``count`` groups of neighbours: the first word of each, and the next.

    Group ``i`` of ``count`` is ``words[i * n // count : (i + 1) * n // count]`` of ``n`` words.
    """
    n = len(words)
    return [(i * n // count, (i + 1) * n // count) for i in range(count)]


def _end(text: str, words: Sequence[Span], count: int) -> int:
    """The end of the first ``count`` words, with the white space after them."""
    if count == 0:
        return 0
    return words[count].start if count < len(words) else len(text)

"""Write src/inputs/unicode.js: the character classes of the Rust library tokenizers.

    python web/unicode.py

Its tables are of an older version of Unicode than those of browsers, which also differ.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

TARGET = Path(__file__).parent / "src/inputs/unicode.js"
BERT = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False}


def main() -> None:
    """Write the module."""
    clean = normalizers.BertNormalizer(**BERT | {"clean_text": True}, lowercase=False)
    chinese = normalizers.BertNormalizer(**BERT | {"handle_chinese_chars": True}, lowercase=False)
    strip = normalizers.BertNormalizer(**BERT | {"strip_accents": True}, lowercase=False)
    accents = normalizers.StripAccents()
    punctuation = pre_tokenizers.Punctuation()
    tables: dict[str, tuple[str, Callable[[str], bool]]] = {
        "CONTROL": ("What BERT's cleaning removes.", lambda c: not clean.normalize_str(c)),
        "IDEOGRAPH": ("What BERT separates.", lambda c: len(chinese.normalize_str(c)) > 1),
        "NONSPACING": ("What BERT strips.", lambda c: not strip.normalize_str(c)),
        "COMBINING": ("What StripAccents removes.", lambda c: not accents.normalize_str(c)),
        "PUNCTUATION": (
            "What is always a separate word.",
            lambda c: len(punctuation.pre_tokenize_str(f"a{c}a")) == 3,
        ),
    }  # fmt: skip
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    lines = [
        "/**",
        " * The character classes of the Rust library `tokenizers`, as the inside of a regular",
        " * expression's class. Written by `python web/unicode.py`.",
        " */",
    ]
    for name, (meaning, holds) in tables.items():
        found = ranges([ord(c) for c in characters if holds(c)])
        lines += ["", f"/** {meaning} */", f"export const {name} =", *wrapped(found)]
    TARGET.write_text("\n".join(lines) + "\n")


def ranges(points: list[int]) -> list[str]:
    """Sorted code points, as the ranges of a character class."""
    found: list[list[int]] = []
    for point in points:
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return [escape(a) if a == b else f"{escape(a)}-{escape(b)}" for a, b in found]


def escape(point: int) -> str:
    return f"\\\\u{{{point:x}}}"


def wrapped(parts: list[str]) -> list[str]:
    """The parts as concatenated string literals, in lines of readable length."""
    lines = [""]
    for part in parts:
        if len(lines[-1]) + len(part) > 90:
            lines.append("")
        lines[-1] += part
    return [f'  "{line}"{" +" if line is not lines[-1] else ";"}' for line in lines]


if __name__ == "__main__":
    main()

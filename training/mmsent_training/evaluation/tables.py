"""Tables of text, for a terminal."""

import unicodedata
from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows of as many cells each: the first ``left`` columns are set left, the others right."""
    widths = [max(map(columns, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        spaces = (" " * (width - columns(cell)) for cell, width in zip(row, widths))
        cells = (
            cell + space if place < left else space + cell
            for place, (cell, space) in enumerate(zip(row, spaces))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def columns(text: str) -> int:
    """The width of ``text`` on a terminal: an East Asian character is two columns wide."""
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char)
        for char in text
    )

"""MVSA-Single and MVSA-Multiple: ID.txt and ID.jpg in ``data``, and every annotator's labels.

labelResultAll.txt has a header, then an ID a line and, after tabs, "TEXT'S,IMAGE'S" label of each
annotator: one in MVSA-Single, three in MVSA-Multiple. How they become one label a pair is the rule
of Xu and Mao, MultiSentiNet (CIKM 2017), that most work on MVSA follows: in Multiple the majority
labels the text, and the image, first; where they agree that is the label, where one is neutral it
is the other, and pairs of a positive and a negative, or without a majority, are dropped.

Niu et al., Sentiment Analysis on Multi-View Social Data (MMM 2016), describes the data.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from mmsent.data.columns import Cells, Columns
from mmsent.data.labels import SENTIMENTS
from mmsent.files.bounded import read_file

LIST = "labelResultAll.txt"
MAX_BYTES = 1 << 24
"""A larger list is refused."""

AGREED = "text and image agree"
NEUTRAL = "one of them is neutral"
OPPOSITE = "one is positive, the other negative"
DIVIDED = "the annotators have no majority"

log = logging.getLogger(__name__)


def merge(annotations: Sequence[str]) -> tuple[str, str | None]:
    """Which case of the rule a pair is, and its label where that keeps it.

    ``annotations``: "TEXT'S,IMAGE'S" label of each annotator. Raises ValueError at anything else.
    """
    labels = [annotation.replace(" ", "").lower().split(",") for annotation in annotations]
    if not labels or any(len(pair) != 2 or set(pair) - set(SENTIMENTS) for pair in labels):
        raise ValueError(f"not TEXT,IMAGE labels among {', '.join(SENTIMENTS)}")
    text, image = (_majority(votes) for votes in zip(*labels))
    if text is None or image is None:
        return DIVIDED, None
    if text == image:
        return AGREED, text
    if "neutral" in (text, image):
        return NEUTRAL, image if text == "neutral" else text
    return OPPOSITE, None


def log_cases(path: Path) -> None:
    """Log how many pairs each case keeps or drops. Raises InputError, as `read_cells` does."""
    counts = Counter(case for _, case, _ in _merged(path))
    kept, dropped = (
        ", ".join(f"{counts[case]} pairs ({case})" for case in cases)
        for cases in ((AGREED, NEUTRAL), (OPPOSITE, DIVIDED))
    )
    log.info("%s: kept %s; dropped %s", path, kept, dropped)


def read_names(path: Path) -> list[str]:
    """The names of the columns that `read_cells` makes of the list."""
    return ["guid", "label"]


def read_cells(
    path: Path, columns: Columns, *, labelled: bool = False, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The pairs that the rule keeps, from the ``start``th on, each with its line.

    A line that is none of MVSA's is what is wrong with it. Nothing else changes what is read.
    Raises InputError where the list can't be read.
    """
    kept = ((line, row) for line, case, row in _merged(path) if case not in (OPPOSITE, DIVIDED))
    yield from islice(kept, start, None)


def _merged(path: Path) -> Iterator[tuple[int, str, Cells | str]]:
    """Each line's number and case, and the pair or, where it is no such line, what is wrong."""
    content = read_file(path, str(path), limit=MAX_BYTES).decode("utf-8-sig", errors="replace")
    for number, line in enumerate(content.splitlines()[1:], 2):
        guid, *annotations = (field.strip() for field in line.split("\t"))
        if not line.strip():
            continue
        try:
            case, label = merge(annotations)
        except ValueError as error:
            yield number, "", str(error)
        else:
            yield number, case, Cells(guid=guid, label=label)


def _majority(votes: Sequence[str]) -> str | None:
    label, count = Counter(votes).most_common(1)[0]
    return label if 2 * count > len(votes) else None

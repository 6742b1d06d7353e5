"""MVSA-Single and MVSA-Multiple: ID.txt and ID.jpg in ``data``, and the annotators' labels.

labelResultAll.txt has a header, then one line per pair: an ID and, after tabs, "TEXT'S,IMAGE'S"
label of each annotator: one in MVSA-Single, three in MVSA-Multiple. They are merged by the rule of
Xu and Mao, MultiSentiNet (CIKM 2017), which most work on MVSA follows. In MVSA-Multiple the
majority first labels the text and the image. If both are the same, that is the pair's label; if one
is neutral, the other is. A pair with a positive and a negative label, or without a majority, is
dropped.

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
    """A pair's case of the rule, and its label, or None if the pair is dropped.

    ``annotations``: "TEXT'S,IMAGE'S" label of each annotator. Raises ValueError if one is invalid.
    """
    labels = [annotation.replace(" ", "").lower().split(",") for annotation in annotations]
    if not labels or any(len(pair) != 2 or set(pair) - set(SENTIMENTS) for pair in labels):
        raise ValueError(f"the labels are not TEXT,IMAGE, each of {', '.join(SENTIMENTS)}")
    text, image = (_majority(votes) for votes in zip(*labels))
    if text is None or image is None:
        return DIVIDED, None
    if text == image:
        return AGREED, text
    if "neutral" in (text, image):
        return NEUTRAL, image if text == "neutral" else text
    return OPPOSITE, None


def log_cases(path: Path) -> None:
    """Log how many pairs each case keeps or drops. Raises InputError, like `read_cells`."""
    counts = Counter(case for _, case, _ in _merged(path))
    kept, dropped = (
        ", ".join(f"{counts[case]} pairs ({case})" for case in cases)
        for cases in ((AGREED, NEUTRAL), (OPPOSITE, DIVIDED))
    )
    log.info("%s: kept %s; dropped %s", path, kept, dropped)


def read_names(path: Path) -> list[str]:
    """The names of the columns that `read_cells` returns."""
    return ["guid", "label"]


def read_cells(
    path: Path, columns: Columns, *, labelled: bool = False, start: int = 0
) -> Generator[tuple[int, Cells | str], None, None]:
    """The pairs that the rule keeps, skipping the first ``start``, with their line numbers.

    An invalid line is its problem as text. The other arguments have no effect.
    Raises InputError if the list can't be read.
    """
    kept = ((line, row) for line, case, row in _merged(path) if case not in (OPPOSITE, DIVIDED))
    yield from islice(kept, start, None)


def _merged(path: Path) -> Iterator[tuple[int, str, Cells | str]]:
    """Each line's number and case, and the pair, or the problem if the line is invalid."""
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

"""Accuracy against coverage: how good the most confident predictions are, the rest left to people.

El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, 2010.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.tables import text_table
from mmsent_training.examples import Labels

SHARES = 10
"""A table has a row for each tenth of the pairs."""


@dataclass(frozen=True)
class CoveragePoint:
    """The ``pairs`` whose predicted label has at least the probability ``confidence``.

    ``share``: of all pairs; ``accuracy``: on these.
    """

    pairs: int
    share: float
    confidence: float
    accuracy: float


def coverage_curve(labels: Labels, probabilities: Floats) -> list[CoveragePoint]:
    """Accuracy by coverage, a point for every different confidence, the highest first.

    ``labels``: int64 [pairs]; ``probabilities``: float32 [pairs, labels]. Pairs of the same
    confidence are covered together, so that their order changes nothing.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    confidence = confidence[order]
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return [
        CoveragePoint(
            pairs=int(at) + 1,
            share=(int(at) + 1) / len(labels),
            confidence=float(confidence[at]),
            accuracy=float(right[at]) / (int(at) + 1),
        )
        for at in last
    ]


def tenths(curve: Sequence[CoveragePoint]) -> list[CoveragePoint]:
    """Of a curve, the first point that covers a tenth of the pairs, two tenths, and so on."""
    total = curve[-1].pairs
    first = (
        next(point for point in curve if SHARES * point.pairs >= part * total)
        for part in range(1, SHARES + 1)
    )
    return [*dict.fromkeys(first)]


def describe_coverage(curve: Sequence[CoveragePoint]) -> str:
    """`tenths` as a table of text."""
    rows = [["coverage", "pairs", "confidence", "accuracy"]]
    for point in tenths(curve):
        numbers = f"{point.confidence:.3f}", f"{point.accuracy:.3f}"
        rows.append([f"{point.share:.0%}", str(point.pairs), f"≥ {numbers[0]}", numbers[1]])
    return f"accuracy of the most confident predictions\n{text_table(rows)}"

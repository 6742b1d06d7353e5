"""How good predictions are, and how sure that is: accuracy, macro F1, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from mmsent_training.evaluation.calibration import Bin, Floats, calibration_error, reliability
from mmsent_training.examples import Labels

SAMPLES = 2000
LEVEL = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, as (low, high)."""

    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class; ``support``: its pairs."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """How good predictions are. ``confusion``: pairs, by true and by predicted label.

    ``calibration_error`` and ``reliability`` say how far the probabilities can be trusted.
    """

    pairs: int
    accuracy: float
    macro_f1: float
    classes: dict[str, ClassScores]
    confusion: list[list[int]]
    intervals: Intervals
    calibration_error: float
    reliability: list[Bin]


def macro_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """The mean F1 of all ``classes``, one without a pair or a prediction counting 0."""
    numbers = range(classes)
    return float(f1_score(labels, predicted, labels=numbers, average="macro", zero_division=0))


def bootstrap_intervals(labels: Labels, predicted: Labels, classes: int) -> Intervals:
    """95 % intervals of accuracy and macro F1: percentiles of the bootstrap.

    ``labels`` and ``predicted`` are int64 [pairs], below ``classes``. The pairs are drawn anew
    SAMPLES times, with replacement and always the same way. Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 13.
    """
    generator = np.random.default_rng(0)
    count, cells = len(labels), labels * classes + predicted  # of the confusion matrix
    shares = np.bincount(cells, minlength=classes**2) / count
    # How often each cell is drawn is all that a score depends on.
    confusion = generator.multinomial(count, shares, SAMPLES).reshape(-1, classes, classes)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(1) + confusion.sum(2)
    f1 = np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0)
    tails = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
    accuracy, macro_f1 = (
        np.percentile(values, tails).tolist() for values in (right.sum(1) / count, f1.mean(1))
    )
    return Intervals(tuple(accuracy), tuple(macro_f1))


def score(labels: Labels, probabilities: Floats, label_names: Sequence[str]) -> Scores:
    """The scores of ``probabilities``, [pairs, labels], for the true ``labels``, int64 [pairs].

    ``labels`` are indices into ``label_names``. A class without a prediction has precision 0.
    """
    predicted, numbers = probabilities.argmax(axis=1), range(len(label_names))
    columns = precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0)
    rows = zip(label_names, zip(*(column.tolist() for column in columns)))
    return Scores(
        pairs=len(labels),
        accuracy=float(np.mean(labels == predicted)),
        macro_f1=macro_f1(labels, predicted, len(label_names)),
        classes={name: ClassScores(p, r, f, int(support)) for name, (p, r, f, support) in rows},
        confusion=confusion_matrix(labels, predicted, labels=numbers).tolist(),
        intervals=bootstrap_intervals(labels, predicted, len(label_names)),
        calibration_error=calibration_error(probabilities, labels),
        reliability=reliability(probabilities, labels),
    )


def describe(scores: Scores) -> str:
    """The scores as a table of text."""
    width = max(10, *map(len, scores.classes))
    lines = [f"{'':>{width}}  precision  recall      f1  support"]
    for name, row in scores.classes.items():
        lines.append(
            f"{name:>{width}}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:6.3f}"
            f"  {row.support:7d}"
        )
    accuracy, f1 = scores.intervals.accuracy, scores.intervals.macro_f1
    return "\n".join(lines) + (
        f"\n\naccuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}, {scores.pairs} pairs"
        f"\n95 % intervals: accuracy {accuracy[0]:.3f} to {accuracy[1]:.3f}, "
        f"macro F1 {f1[0]:.3f} to {f1[1]:.3f}"
        f"\nexpected calibration error {scores.calibration_error:.3f}"
    )

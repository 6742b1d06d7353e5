"""Scores and their intervals: accuracy, F1, AUROC, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from mmsent_training.evaluation.calibration import Bin, Floats, calibration_error, reliability
from mmsent_training.evaluation.tables import columns
from mmsent_training.examples import Labels

SAMPLES = 2000
LEVEL = 0.95
TAILS = 100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2
"""The percentiles at the ends of an interval."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, as (low, high)."""

    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class; ``support``: the number of its pairs."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """All scores. ``confusion``: numbers of pairs, by true and by predicted label.

    ``weighted_f1``: the mean F1 of the classes, weighted by their pairs. ``auroc``: see `auroc`.
    ``calibration_error`` and ``reliability``: how well the probabilities are calibrated.
    """

    pairs: int
    accuracy: float
    macro_f1: float
    weighted_f1: float
    auroc: float | None
    classes: dict[str, ClassScores]
    confusion: list[list[int]]
    intervals: Intervals
    calibration_error: float
    reliability: list[Bin]

    @property
    def majority(self) -> tuple[str, float]:
        """The most frequent true label, and the accuracy of always predicting it."""
        label, most = max(self.classes.items(), key=lambda item: item[1].support)
        return label, most.support / self.pairs


def macro_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """The mean F1 of all ``classes``; a class without pairs or predictions counts as 0."""
    numbers = range(classes)
    return float(f1_score(labels, predicted, labels=numbers, average="macro", zero_division=0))


def weighted_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """The mean F1 of the ``classes``, each counted by its pairs."""
    numbers = range(classes)
    return float(f1_score(labels, predicted, labels=numbers, average="weighted", zero_division=0))


def class_scores(
    labels: Labels, predicted: Labels, label_names: Sequence[str]
) -> dict[str, ClassScores]:
    """The scores of each class. One without a prediction has precision 0."""
    numbers = range(len(label_names))
    table = precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0)
    rows = zip(label_names, zip(*(column.tolist() for column in table)))
    return {name: ClassScores(p, r, f, int(support)) for name, (p, r, f, support) in rows}


def auroc(labels: Labels, probabilities: Floats) -> float | None:
    """The area under the ROC curve: how often a pair of a class is ranked above a pair outside it.

    For two classes, by the probability of the second; for more, the mean of one against the rest.
    ``labels``: int64 [pairs]; ``probabilities``: float32 [pairs, labels]. None if a class has no
    pairs, since its curve is undefined.
    """
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return None
    ranked = [1] if classes == 2 else range(classes)
    areas = [roc_auc_score(labels == number, probabilities[:, number]) for number in ranked]
    return float(np.mean(areas))


def bootstrap_intervals(labels: Labels, predicted: Labels, classes: int) -> Intervals:
    """95 % intervals of accuracy and macro F1: percentiles of the bootstrap.

    ``labels`` and ``predicted`` are int64 [pairs], below ``classes``. The pairs are resampled
    SAMPLES times with replacement, always in the same way. Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 13. A class of which a resample has no pair and no prediction
    has no F1 there, and is left out of that mean: as 0, it would lower all of them.
    """
    generator = np.random.default_rng(0)
    # A score depends only on how often each cell of the confusion matrix is drawn. Empty ones never
    # are; with many labels, almost all cells are empty.
    cells, counts = np.unique(labels * classes + predicted, return_counts=True)
    true, guessed = np.divmod(cells, classes)
    on_diagonal = true == guessed
    never = classes - len(np.union1d(true, guessed))  # 0 in the score, and so in every resample
    accuracies, means = np.empty(SAMPLES), np.empty(SAMPLES)
    for sample in range(SAMPLES):
        drawn = generator.multinomial(len(labels), counts / len(labels))
        right = np.bincount(true[on_diagonal], drawn[on_diagonal], classes)
        both = np.bincount(true, drawn, classes) + np.bincount(guessed, drawn, classes)
        f1 = np.divide(2 * right, both, out=np.zeros(classes), where=both > 0)
        accuracies[sample] = right.sum() / len(labels)
        means[sample] = f1.sum() / (np.count_nonzero(both) + never)
    accuracy, macro_f1 = (np.percentile(values, TAILS).tolist() for values in (accuracies, means))
    return Intervals(tuple(accuracy), tuple(macro_f1))


def score(labels: Labels, probabilities: Floats, label_names: Sequence[str]) -> Scores:
    """The scores of ``probabilities``, [pairs, labels], for the true ``labels``, int64 [pairs].

    ``labels`` are indices into ``label_names``.
    """
    predicted, numbers = probabilities.argmax(axis=1), range(len(label_names))
    return Scores(
        pairs=len(labels),
        accuracy=float(np.mean(labels == predicted)),
        macro_f1=macro_f1(labels, predicted, len(label_names)),
        weighted_f1=weighted_f1(labels, predicted, len(label_names)),
        auroc=auroc(labels, probabilities),
        classes=class_scores(labels, predicted, label_names),
        confusion=confusion_matrix(labels, predicted, labels=numbers).tolist(),
        intervals=bootstrap_intervals(labels, predicted, len(label_names)),
        calibration_error=calibration_error(probabilities, labels),
        reliability=reliability(probabilities, labels),
    )


def describe(scores: Scores) -> str:
    """The scores as a table of text."""
    width = max(10, *map(columns, scores.classes))
    lines = [f"{'':>{width}}  precision  recall      f1  support"]
    for name, row in scores.classes.items():
        lines.append(
            f"{' ' * (width - columns(name))}{name}  {row.precision:9.3f}  {row.recall:6.3f}"
            f"  {row.f1:6.3f}  {row.support:7d}"
        )
    accuracy, f1 = scores.intervals.accuracy, scores.intervals.macro_f1
    label, share = scores.majority
    area = "undefined: a label has no pairs" if scores.auroc is None else f"{scores.auroc:.3f}"
    return "\n".join(lines) + (
        f"\n\naccuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}, {scores.pairs} pairs"
        f"\nmajority baseline, always {label!r}: accuracy {share:.3f}"
        f"\nweighted F1 {scores.weighted_f1:.3f}, AUROC {area}"
        f"\n95 % intervals: accuracy {accuracy[0]:.3f} to {accuracy[1]:.3f}, "
        f"macro F1 {f1[0]:.3f} to {f1[1]:.3f}"
        f"\nexpected calibration error {scores.calibration_error:.3f}"
    )

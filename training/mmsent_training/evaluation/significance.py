"""Whether one model is better than another on the same pairs: McNemar's test and intervals."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest  # type: ignore[import-untyped]

from mmsent_training.evaluation.metrics import SAMPLES, TAILS
from mmsent_training.examples import Labels

SIGNIFICANT = 0.05
BLOCK = 250  # samples in memory at once; a divisor of SAMPLES / 2

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two predictions for the same pairs.

    ``only_one`` and ``only_other`` count the pairs that only one of them got right; ``p`` is the
    probability of a difference at least as large if both are equally likely to be right.
    """

    only_one: int
    only_other: int
    p: float

    @property
    def verdict(self) -> str:
        """The result as text."""
        said = "significant" if self.p < SIGNIFICANT else "not significant"
        return f"p = {self.p:.3g}, {said} at 5 %"


@dataclass(frozen=True)
class Difference:
    """The difference between two scores, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Differences:
    """The differences between two models' scores; ``f1``: per class, in the order of the labels."""

    accuracy: Difference
    macro_f1: Difference
    weighted_f1: Difference
    f1: list[Difference]


def mcnemar(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> McNemar:
    """McNemar's test (1947; exact, by the binomial distribution) of who is right: [pairs] each."""
    only_one, only_other = int(np.sum(one & ~other)), int(np.sum(~one & other))
    differing = only_one + only_other
    p = float(binomtest(only_one, differing).pvalue) if differing else 1.0
    return McNemar(only_one, only_other, p)


def paired_differences(labels: Labels, one: Labels, other: Labels, classes: int) -> Differences:
    """The scores of ``one`` less those of ``other``, with percentiles of the paired bootstrap.

    ``labels`` and both predictions are int64 [pairs], below ``classes``. A pair is redrawn with
    both of its predictions, SAMPLES times and always the same way: neither the order of the pairs
    nor which model is ``one`` changes an interval. Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13.
    """
    # Half of the samples are of one less the other, half of the other less the one, negated, so
    # that the randomness is the same whichever comes first.
    here, there = _cells(labels, one, other, classes), _cells(labels, other, one, classes)
    samples = np.concatenate((_samples(here, classes), -_samples(there, classes)))
    (values,) = _differences(here, here.pairs[None], classes)
    tail = TAILS[0]
    low, high = np.percentile(samples, tail, axis=0), -np.percentile(-samples, tail, axis=0)
    rows = [Difference(*map(float, row)) for row in zip(values, low, high)]
    return Differences(rows[0], rows[1], rows[2], rows[3:])


class _Cells(NamedTuple):
    """The combinations of a label and two predictions, int64 [cells], and the pairs of each.

    A score depends only on how often each combination is drawn.
    """

    true: Labels
    one: Labels
    other: Labels
    pairs: Labels


def _cells(labels: Labels, one: Labels, other: Labels, classes: int) -> _Cells:
    codes, pairs = np.unique((labels * classes + one) * classes + other, return_counts=True)
    both, second = np.divmod(codes, classes)
    return _Cells(*np.divmod(both, classes), second, pairs)


def _samples(cells: _Cells, classes: int) -> Scores:
    """The differences of redrawn pairs: float64 [SAMPLES / 2, 3 + classes]."""
    generator, pairs = np.random.default_rng(0), int(cells.pairs.sum())
    return np.concatenate(
        [
            _differences(cells, generator.multinomial(pairs, cells.pairs / pairs, BLOCK), classes)
            for _ in range(SAMPLES // 2 // BLOCK)
        ]
    )


def _differences(cells: _Cells, drawn: Labels, classes: int) -> Scores:
    """The scores of one less those of the other, with each cell ``drawn`` so many times."""
    one, other = (_scores(drawn, cells.true, each, classes) for each in (cells.one, cells.other))
    return one - other


def _scores(drawn: Labels, true: Labels, predicted: Labels, classes: int) -> Scores:
    """Accuracy, macro F1, weighted F1 and each class's F1: float64 [samples, 3 + classes].

    ``drawn``, int64 [samples, cells]: how many pairs each cell has, whose label is ``true`` and
    whose prediction ``predicted``, int64 [cells]. As in `bootstrap_intervals`, the macro F1 of a
    sample leaves out a class of which only that sample has no pair and no prediction.
    """

    def by_class(numbers: Labels, among: npt.NDArray[np.bool_] | bool = True) -> Scores:
        sums = np.zeros((len(drawn), classes))
        for number in np.unique(numbers):
            sums[:, number] = drawn[:, (numbers == number) & among].sum(axis=1)
        return sums

    support = by_class(true)
    right, both = by_class(true, true == predicted), support + by_class(predicted)
    f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    never = classes - len(np.union1d(true, predicted))
    macro = f1.sum(axis=1) / (np.count_nonzero(both, axis=1) + never)
    pairs = support.sum(axis=1)
    summary = right.sum(axis=1) / pairs, macro, (f1 * support).sum(axis=1) / pairs
    return np.column_stack((*summary, f1))

"""How sure a score is, and whether two models differ: bootstrap intervals and McNemar's test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest  # type: ignore[import-untyped]

from mmsent.data.dataset import LABELS

SAMPLES = 2000
LEVEL = 0.95

Labels = npt.NDArray[np.int64]


def intervals(labels: Labels, predicted: Labels) -> dict[str, list[float]]:
    """95 % intervals of accuracy and macro F1, as [low, high]: percentiles of the bootstrap.

    ``labels`` and ``predicted`` are int64 [pairs]. The pairs are drawn anew SAMPLES times, with
    replacement and always the same way. Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13.
    """
    generator = np.random.default_rng(0)
    count, size = len(labels), len(LABELS)
    cells = labels * size + predicted  # of the confusion matrix
    shares = np.bincount(cells, minlength=size**2) / count
    # How often each cell is drawn is all that a score depends on.
    confusion = generator.multinomial(count, shares, SAMPLES).reshape(SAMPLES, size, size)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(1) + confusion.sum(2)
    f1 = np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0)
    scores = {"accuracy": right.sum(1) / count, "macro_f1": f1.mean(1)}
    tails = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
    return {name: np.percentile(values, tails).tolist() for name, values in scores.items()}


def mcnemar(labels: Labels, one: Labels, other: Labels) -> dict[str, Any]:
    """McNemar's exact test of two predictions for the same pairs, int64 [pairs] each.

    ``only_one`` and ``only_other`` count the pairs that only one of them got right; ``p`` is the
    probability of a difference as large where each is as likely to be the one (1947; exact, by the
    binomial distribution).
    """
    right, other_right = one == labels, other == labels
    only_one, only_other = int(np.sum(right & ~other_right)), int(np.sum(~right & other_right))
    differing = only_one + only_other
    p = float(binomtest(only_one, differing).pvalue) if differing else 1.0
    return {"only_one": only_one, "only_other": only_other, "p": p}

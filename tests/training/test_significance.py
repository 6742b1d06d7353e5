"""Paired differences and their intervals, compared with scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import f1_score

from mmsent_training.evaluation.significance import mcnemar, paired_differences


def draw(classes, pairs=300, right=(0.7, 0.6)):
    """Labels, and two sets of predictions with these shares of correct ones."""
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, pairs)
    return labels, *(
        np.where(generator.random(pairs) < share, labels, generator.integers(0, classes, pairs))
        for share in right
    )


def f1(labels, predicted, number):
    """The F1 of a class over the last axis, by its definition."""
    true, guessed = labels == number, predicted == number
    both = true.sum(-1) + guessed.sum(-1)
    return 2 * (true & guessed).sum(-1) / np.maximum(both, 1)


SCORES = {
    "accuracy": lambda labels, predicted, classes: (labels == predicted).mean(-1),
    "macro_f1": lambda labels, predicted, classes: np.mean(
        [f1(labels, predicted, number) for number in range(classes)], axis=0
    ),
    "weighted_f1": lambda labels, predicted, classes: np.sum(
        [f1(labels, predicted, n) * (labels == n).mean(-1) for n in range(classes)], axis=0
    ),
}


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("name", SCORES)
def test_an_interval_is_scipys_paired_bootstrap(classes, name):
    labels, one, other = draw(classes)

    def difference(labels, one, other, axis):
        return SCORES[name](labels, one, classes) - SCORES[name](labels, other, classes)

    wanted = bootstrap(
        (labels, one, other), difference, paired=True, vectorized=True, n_resamples=4000,
        method="percentile", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    found = getattr(paired_differences(labels, one, other, classes), name)
    assert found.value == pytest.approx(difference(labels, one, other, -1))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.006)
    assert found.low < found.value < found.high


def test_rare_labels_do_not_narrow_a_difference():
    """A resample without a label does not count it, so an extreme difference stays extreme."""
    labels = np.repeat(np.arange(20), 2)
    found = paired_differences(labels, labels, (labels + 1) % 20, 20)
    assert (found.macro_f1.low, found.macro_f1.value, found.macro_f1.high) == (1, 1, 1)


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_values_are_scikit_learns(classes):
    labels, one, other = draw(classes)
    found = paired_differences(labels, one, other, classes)
    for average in ("macro", "weighted"):
        of_one, of_other = (f1_score(labels, each, average=average) for each in (one, other))
        value = getattr(found, f"{average}_f1").value
        assert value == pytest.approx(of_one - of_other)
    by_class = [f1_score(labels, each, average=None) for each in (one, other)]
    assert [each.value for each in found.f1] == pytest.approx(by_class[0] - by_class[1])


def turned(difference):
    return -difference.value, -difference.high, -difference.low


def ends(difference):
    return difference.value, difference.low, difference.high


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 40))
def test_the_order_of_models_and_pairs_changes_nothing_but_the_sign(seed, classes, pairs):
    """Bit for bit, whatever is compared."""
    generator = np.random.default_rng(seed)
    labels, one, other = generator.integers(0, classes, (3, pairs))
    found = paired_differences(labels, one, other, classes)
    order = generator.permutation(pairs)
    assert paired_differences(labels[order], one[order], other[order], classes) == found
    back = paired_differences(labels[order], other[order], one[order], classes)
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        assert ends(getattr(back, name)) == turned(getattr(found, name))
    assert [*map(ends, back.f1)] == [*map(turned, found.f1)]


def test_equal_predictions_do_not_differ():
    labels, one, _ = draw(3)
    found = paired_differences(labels, one, one.copy(), 3)
    assert {ends(found.accuracy), ends(found.macro_f1), *map(ends, found.f1)} == {(0, 0, 0)}
    assert mcnemar(one == labels, one == labels).p == 1


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_mcnemar_is_scipys_binomial_test(classes):
    labels, one, other = draw(classes)
    only_one = int(np.sum((one == labels) & (other != labels)))
    only_other = int(np.sum((one != labels) & (other == labels)))
    found = mcnemar(one == labels, other == labels)
    assert (found.only_one, found.only_other) == (only_one, only_other)
    assert found.p == pytest.approx(binomtest(only_one, only_one + only_other, 0.5).pvalue)

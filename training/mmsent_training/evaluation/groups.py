"""Scores by any column of the list, such as the source or the language."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest  # type: ignore[import-untyped]

from mmsent.data.columns import listed
from mmsent.data.dataset import AS_IT_IS, Reading, open_dataset
from mmsent.data.lists import List
from mmsent.data.pair import Pair
from mmsent.errors import InputError
from mmsent_training.evaluation.metrics import LEVEL, Interval, bootstrap_intervals, macro_f1
from mmsent_training.evaluation.tables import text_table
from mmsent_training.examples import Labels

MAX_GROUPS = 100
"""A column with more values is refused: it names rows rather than groups of them."""


@dataclass(frozen=True)
class Group:
    """The scores of the pairs with ``value`` in a column; "" is an empty cell.

    ``accuracy_interval``: Wilson's, 1927, which is also valid for few pairs. ``macro_f1``: over the
    labels that occur among the group's true and predicted ones; its interval: of the bootstrap.
    """

    value: str
    pairs: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval


def check_column(data: Path, column: str, *, reading: Reading = AS_IT_IS) -> None:
    """Raises InputError before the work if no list of a dataset has this ``column``."""
    lists = open_dataset(data, reading).lists
    names = [each.names if isinstance(each, List) else () for each in lists]
    if not any(column in each for each in names):
        raise _no_column(lists[0].name, column, names[0])


def _no_column(name: str, column: str, names: Sequence[str]) -> InputError:
    return InputError(f"{name} has no column {column!r}; it has {listed(names)}")


def read_column(
    data: Path, column: str, pairs: Sequence[Pair], *, reading: Reading = AS_IT_IS
) -> list[str]:
    """The values of a dataset's ``column`` for ``pairs``, which were read from it.

    Raises InputError if a list with some of them has no such column, or if all values are empty.
    """
    lists = {pair.list for pair in pairs}
    found: dict[tuple[str, int], str] = {}
    for each in open_dataset(data, reading).lists:
        if each.name in lists:
            names = each.names if isinstance(each, List) else ()
            if not isinstance(each, List) or column not in names:
                raise _no_column(each.name, column, names)
            # Any column can be read as the label.
            other = replace(each, columns={**each.columns, "label": column})
            with closing(other.rows(contents=False)) as rows:
                for row in rows:
                    if isinstance(row, Pair):
                        found[row.list, row.line] = row.label or ""
    values = [found[pair.list, pair.line] for pair in pairs]
    if not any(values):
        raise InputError(f"the column {column!r} of {data} has no values for these pairs")
    return values


def score_groups(labels: Labels, predicted: Labels, values: Sequence[str]) -> list[Group]:
    """The scores of each group of pairs with the same value, the largest first.

    ``labels`` and ``predicted``: int64 [pairs]; ``values``: str [pairs].
    Raises InputError if there are more than MAX_GROUPS.
    """
    different, places = np.unique(np.array(values, object), return_inverse=True)
    if len(different) > MAX_GROUPS:
        raise InputError(
            f"the column has {len(different)} values; the maximum is {MAX_GROUPS} groups"
        )
    groups = [
        _score(value, labels[places == number], predicted[places == number])
        for number, value in enumerate(different)
    ]
    return sorted(groups, key=lambda group: (-group.pairs, group.value))


def _score(value: str, labels: Labels, predicted: Labels) -> Group:
    pairs, right = len(labels), int(np.sum(labels == predicted))
    wilson = binomtest(right, pairs).proportion_ci(LEVEL, method="wilson")
    present, numbers = np.unique(np.concatenate((labels, predicted)), return_inverse=True)
    true, guessed = numbers[:pairs], numbers[pairs:]
    return Group(
        value,
        pairs,
        accuracy=right / pairs,
        accuracy_interval=(float(wilson.low), float(wilson.high)),
        macro_f1=macro_f1(true, guessed, len(present)),
        macro_f1_interval=bootstrap_intervals(true, guessed, len(present)).macro_f1,
    )


def describe_groups(column: str, groups: Sequence[Group]) -> str:
    """The groups as a table of text."""
    rows = [[column, "pairs", "accuracy", "", "macro F1", ""]]
    for group in groups:
        cells = [group.value or "(nothing)", str(group.pairs)]
        for score, (low, high) in (
            (group.accuracy, group.accuracy_interval),
            (group.macro_f1, group.macro_f1_interval),
        ):
            cells += [f"{score:.3f}", f"({low:.3f} to {high:.3f})"]
        rows.append(cells)
    return text_table(rows)

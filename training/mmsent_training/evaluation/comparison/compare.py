"""Compare models on the same pairs: scores, significance, and different settings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mmsent.data.labels import order_labels
from mmsent.errors import InputError
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.comparison.contenders import Contender, Kind
from mmsent_training.evaluation.metrics import (
    ClassScores,
    Intervals,
    auroc,
    bootstrap_intervals,
    class_scores,
    macro_f1,
    weighted_f1,
)
from mmsent_training.evaluation.overlap import Overlap
from mmsent_training.evaluation.predictions import count_guids
from mmsent_training.evaluation.significance import (
    Differences,
    McNemar,
    mcnemar,
    paired_differences,
)
from mmsent_training.examples import Labels


@dataclass(frozen=True)
class Aligned:
    """Contenders' predictions for the same pairs, sorted by guid.

    ``labels``: all labels of the contenders and the pairs. ``true``: int64 [pairs], indices into
    them; ``predicted``: the same of each contender; ``probabilities``: of each, float32 [pairs,
    labels], 0 for a label that it lacks, or None if they are unknown.
    """

    contenders: Sequence[Contender]
    labels: tuple[str, ...]
    guids: Sequence[str]
    true: Labels
    predicted: Sequence[Labels]
    probabilities: Sequence[Floats | None]


@dataclass(frozen=True)
class ContenderScores:
    """A contender's scores. ``auroc``: None if it is undefined or there are no probabilities."""

    letter: str
    path: str
    kind: Kind
    accuracy: float
    macro_f1: float
    weighted_f1: float
    auroc: float | None
    intervals: Intervals
    classes: dict[str, ClassScores]
    overlap: Overlap | None


@dataclass(frozen=True)
class Pairwise:
    """Two contenders, by letter: the scores of ``one`` less those of ``other``, and McNemar's."""

    one: str
    other: str
    differences: Differences
    mcnemar: McNemar


@dataclass(frozen=True)
class Comparison:
    """All of a comparison. ``facts``: settings and data that differ, a value for each contender.

    A value is None if it is unknown, as always for a file of predictions.
    """

    pairs: int
    labels: tuple[str, ...]
    contenders: list[ContenderScores]
    pairwise: list[Pairwise]
    facts: dict[str, list[Any]]


def align(contenders: Sequence[Contender]) -> Aligned:
    """Align the predictions of all ``contenders``.

    Raises InputError that names the pairs that differ, if any do.
    """
    first, *others = contenders
    faults = [fault for other in others for fault in _differing(first, other)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise InputError(
            f"the pairs are not the same:\n{lines}\nBundles are scored on the same pairs with "
            "--split test or --split all; `mmsent-export onnx RUN` makes a bundle of a run"
        )
    guids = sorted(first.rows)
    tags = [str(first.rows[guid].tag) for guid in guids]
    labels = _all_labels(contenders, tags)
    places = {label: number for number, label in enumerate(labels)}
    return Aligned(
        contenders,
        labels,
        guids,
        np.array([places[tag] for tag in tags], np.int64),
        [
            np.array([places[each.rows[guid].predicted] for guid in guids], np.int64)
            for each in contenders
        ],
        [_probabilities(each, guids, places) for each in contenders],
    )


def _differing(one: Contender, other: Contender) -> list[str]:
    """The error if the pairs of two contenders differ."""
    faults = []
    for some, rest in ((one, other), (other, one)):
        if missing := sorted(some.rows.keys() - rest.rows.keys()):
            faults.append(f"{count_guids(missing)} of {some} are not among those of {rest}")
    tags = [
        guid
        for guid in sorted(one.rows.keys() & other.rows.keys())
        if one.rows[guid].tag != other.rows[guid].tag
    ]
    if tags:
        first = f"{one.rows[tags[0]].tag!r} in {one}, {other.rows[tags[0]].tag!r} in {other}"
        faults.append(f"{count_guids(tags)} have another true label: the first is {first}")
    return faults


def _all_labels(contenders: Sequence[Contender], tags: Sequence[str]) -> tuple[str, ...]:
    """All labels, in the contenders' order if it is the same for all."""
    found = {*tags} | {row.predicted for each in contenders for row in each.rows.values()}
    found = found.union(*(each.labels for each in contenders))
    # A file of predictions may not have the model's order.
    orders = {each.labels for each in contenders if each.kind != "predictions"}
    if len(orders) == 1 and found == {*(order := orders.pop())}:
        return order
    return order_labels(found)


def _probabilities(
    contender: Contender, guids: Sequence[str], places: Mapping[str, int]
) -> Floats | None:
    rows = [contender.rows[guid].probabilities for guid in guids]
    if any(row is None for row in rows):
        return None
    found = np.zeros((len(guids), len(places)), np.float32)
    found[:, [places[label] for label in contender.labels]] = rows
    return found


def compare(aligned: Aligned) -> Comparison:
    """The scores of all contenders, and every two of them against each other."""
    true, classes = aligned.true, len(aligned.labels)
    scores = [
        ContenderScores(
            letter=each.letter,
            path=str(each.path),
            kind=each.kind,
            accuracy=float(np.mean(true == predicted)),
            macro_f1=macro_f1(true, predicted, classes),
            weighted_f1=weighted_f1(true, predicted, classes),
            auroc=None if probabilities is None else auroc(true, probabilities),
            intervals=bootstrap_intervals(true, predicted, classes),
            classes=class_scores(true, predicted, aligned.labels),
            overlap=each.overlap,
        )
        for each, predicted, probabilities in zip(
            aligned.contenders, aligned.predicted, aligned.probabilities
        )
    ]
    pairwise = [
        Pairwise(
            scores[one].letter,
            scores[other].letter,
            paired_differences(true, aligned.predicted[one], aligned.predicted[other], classes),
            mcnemar(aligned.predicted[one] == true, aligned.predicted[other] == true),
        )
        for one, other in combinations(range(len(scores)), 2)
    ]
    facts = _differing_facts([each.facts for each in aligned.contenders])
    return Comparison(len(true), aligned.labels, scores, pairwise, facts)


def _differing_facts(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The facts with at least two different known values."""
    names = dict.fromkeys(name for each in facts for name in each)
    rows = {name: [each.get(name) for each in facts] for name in names}
    return {
        name: values
        for name, values in rows.items()
        if len({repr(value) for value in values if value is not None}) > 1
    }


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON, with the F1 of each class under its label."""
    content = asdict(comparison)
    for two in content["pairwise"]:
        two["differences"]["f1"] = dict(zip(comparison.labels, two["differences"]["f1"]))
    return content

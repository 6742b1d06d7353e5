"""Pairs that a dataset has more than once: with the same text and image, or one of them."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mmsent.data.pair import Pair, Part
from mmsent.errors import SHOWN_VALUES, Problem

Use = Literal["training", "validation", "prediction"]
"""What pairs are there for: to train or validate on, or to be predicted."""


class Entry(NamedTuple):
    """A pair, what it is for, and digests of its text and image; None where it has none."""

    pair: Pair
    use: Use
    text: bytes | None
    image: bytes | None


@dataclass(frozen=True)
class Repeats:
    """How many pairs have something that another pair has, too.

    ``pairs``: those of which another pair has the same. ``trained_on``: those to validate on or to
    predict of which a pair to train on has the same: a score on them promises too much.
    """

    pairs: int = 0
    trained_on: int = 0


_KINDS: dict[str, Callable[[Entry], Hashable]] = {
    "text and image": lambda entry: (
        (entry.text, entry.image) if entry.text and entry.image else None
    ),
    "image alone": lambda entry: entry.image,
    "text alone": lambda entry: entry.text,
}
"""What pairs may share; ``alone``: and no pair shares both."""


def find_repeats(entries: Sequence[Entry]) -> tuple[dict[str, Repeats], list[Problem]]:
    """How many pairs have a text, an image or both more than once, and warnings of two kinds.

    Of pairs whose twin is trained on, and of twins with different labels.
    """
    pairs: dict[str, set[int]] = {kind: set() for kind in _KINDS}
    trained_on: dict[str, set[int]] = {kind: set() for kind in _KINDS}
    twins: dict[int, tuple[str, Pair]] = {}
    for kind, key in _KINDS.items():
        for group in _groups(entries, key):
            pairs[kind] |= set(group)
            source = next((i for i in group if entries[i].use == "training"), None)
            if source is not None:
                others = {i for i in group if entries[i].use != "training"}
                trained_on[kind] |= others
                for i in others:
                    twins.setdefault(i, (kind.removesuffix(" alone"), entries[source].pair))
    for found in (pairs, trained_on):
        for kind in ("image alone", "text alone"):
            found[kind] -= found["text and image"]
    warnings = [
        _row(entries[i].pair, f"a training pair has the same {kind}; it is {_row(twin, '').row}")
        for i, (kind, twin) in sorted(twins.items())
    ]
    for part in ("image", "text"):
        warnings += _contradictions(entries, part)
    counts = {kind: Repeats(len(pairs[kind]), len(trained_on[kind])) for kind in _KINDS}
    return counts, warnings


def _groups(entries: Sequence[Entry], key: Callable[[Entry], Hashable]) -> Iterable[list[int]]:
    """The places of entries with the same key, where there are several; none without a key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if value := key(entry):
            groups[value].append(place)
    return [group for group in groups.values() if len(group) > 1]


def _contradictions(entries: Sequence[Entry], part: Part) -> list[Problem]:
    """Labelled pairs whose image, or whose text, is elsewhere with another label."""
    labelled = [entry for entry in entries if entry.pair.label and entry.use != "prediction"]
    warnings = []
    for group in _groups(labelled, _KINDS[f"{part} alone"]):
        first, *others = (labelled[place].pair for place in group)
        if different := [other for other in others if other.label != first.label]:
            same = ", ".join(f"{other.guid} ({other.label})" for other in different[:SHOWN_VALUES])
            more = f" and {len(different) - SHOWN_VALUES} more"
            same += more if len(different) > SHOWN_VALUES else ""
            message = f"the same {part} has other labels; {first.label} here, {same}"
            warnings.append(first.problem(part, message))
    return warnings


def _row(pair: Pair, message: str) -> Problem:
    return Problem(pair.list, pair.line, pair.guid, pair.list, message)

"""Repeated pairs: with the same text and image, or with one of them in common."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mmsent.data.pair import Pair, Part
from mmsent.errors import SHOWN_VALUES, Problem

Use = Literal["training", "validation", "prediction"]
"""The use of a pair."""


class Entry(NamedTuple):
    """A pair, its use, and digests of its text and image; None for a missing part."""

    pair: Pair
    use: Use
    text: bytes | None
    image: bytes | None


@dataclass(frozen=True)
class Repeats:
    """How many pairs have something in common with another pair.

    ``pairs``: all of them. ``trained_on``: those to validate on or to predict that share it with a
    training pair, so that a score on them is too optimistic.
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
"""What pairs can have in common; ``alone``: and no pair has both."""


def find_repeats(entries: Sequence[Entry]) -> tuple[dict[str, Repeats], list[Problem]]:
    """Count the pairs that share their text, image or both, and return two kinds of warnings.

    They are about pairs that repeat a training pair, and about repeats with different labels.
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
    """The indices of entries with the same key, if there are several; None is not a key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if value := key(entry):
            groups[value].append(place)
    return [group for group in groups.values() if len(group) > 1]


def _contradictions(entries: Sequence[Entry], part: Part) -> list[Problem]:
    """Labelled pairs whose image or text appears elsewhere with another label."""
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

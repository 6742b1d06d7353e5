"""Labels: what the training list says, any words or numbers, taken as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mmsent.errors import InputError

SENTIMENTS = ("negative", "neutral", "positive")
"""The labels of the task, and those that mmsent's own knowledge of words is about."""
NO_LABEL = ("", "null")
"""How a list says that a label is to be predicted."""
VALIDATION_FRACTION = 0.1
"""The share of the pairs that a training sets aside for validation, unless there are others."""
MAX_LABEL = 64
"""A longer label, in characters, is refused."""
SEVERAL_LABELS = "holds several labels; mmsent supports one label a pair"
NESTED = "[…]"
"""Stands for a list or an object where a label belongs: a label, but none that can be one."""

# A spreadsheet that opens the predictions would compute such a guid or label. Ids like -12 and
# -dQw4w9WgXcQ are let through: without an operator or a call there is nothing in them to compute.
FORMULA = re.compile(r"[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\w.-]*$)")  # full-width ones, too
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_INTEGRAL = re.compile(r"([+-]?\d+)\.0+")
_JOINER = re.compile("(?<=[^\u200c\u200d])[\u200c\u200d](?=[^\u200c\u200d])")
"""A zero-width joiner or non-joiner between two characters, as Persian and Hindi words have."""


def plain_label(cell: str) -> str:
    """A label as a list writes it: without white space around it, and 1.0 as 1."""
    label = cell.strip()
    match = _INTEGRAL.fullmatch(label)
    return match[1] if match else label


def are_sentiments(labels: Iterable[str]) -> bool:
    """Whether ``labels`` are the three sentiments, in any order."""
    return set(labels) == set(SENTIMENTS)


def label_fault(label: str) -> str | None:
    """Why ``label`` can't be one, if it can't: labels go into tables that people open."""
    if label in NO_LABEL:
        return "the label is missing"
    if label.startswith("[") and label.endswith("]"):  # as pandas writes a list
        return f"{label[:20]!r} {SEVERAL_LABELS}"
    if len(label) > MAX_LABEL:
        return f"the label is longer than {MAX_LABEL} characters ({label[:20]!r}…)"
    if not _JOINER.sub("", label).isprintable():
        return f"a label can't hold control characters ({label!r})"
    if FORMULA.match(label):
        return f"a spreadsheet would take the label {label!r} for a formula"
    return None


def parse_labels(text: str) -> tuple[str, ...]:
    """The labels that ``text``, as "no,maybe,yes", says, in that order. Raises InputError."""
    labels = tuple(plain_label(item) for item in text.split(","))
    for label in labels:
        if fault := label_fault(label):
            raise InputError(f"--labels {text}: {fault}")
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(f"--labels {text}: name two labels or more, all different")
    return labels


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in their order: numbers by value, else as text sorts.

    That puts the sentiments as the task has them: negative, neutral, positive.
    """
    found = set(labels)
    if all(_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    return tuple(sorted(found))


def label_columns(labels: Sequence[str], others: Iterable[str]) -> dict[str, str]:
    """The name of each label's column in a table that also has the columns ``others``.

    It is the label; one that has the name of another column gets a _ at its end.
    """
    taken = {*others}
    names: dict[str, str] = {}
    for label in labels:
        name = label
        while name in taken or (name != label and name in labels):
            name += "_"
        taken.add(name)
        names[label] = name
    return names


def unknown_label(label: str, labels: Sequence[str]) -> str:
    """What to say of a label that is none of ``labels``."""
    same = [known for known in labels if _folded(known) == _folded(label)]
    hint = f"; did you mean {same[0]!r}?" if same else f"; it must be one of {', '.join(labels)}"
    return f"unknown label {label!r}{hint}"


def similar_labels(labels: Iterable[str]) -> list[str]:
    """What to say of labels that are probably meant to be one: they differ in case or spaces."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_folded(label), []).append(label)
    return [
        f"the labels {', '.join(map(repr, group))} differ in case or spaces alone; "
        "if they mean the same, write them alike"
        for group in groups.values()
        if len(group) > 1
    ]


def _folded(label: str) -> str:
    return "".join(label.split()).casefold()


def label_faults(
    counts: Mapping[str, int], labels: Sequence[str], *, fraction: float = 0.0
) -> list[str]:
    """What of the ``labels`` rules out a training, with how many pairs each has.

    ``fraction``: the share of the pairs that is set aside for validation, 0 where the validation
    pairs come from elsewhere. A label needs a pair on each side, and each side a pair a label.
    """
    least = 2 if fraction else 1
    faults = [
        f"the label {label!r} has {_pairs(counts.get(label, 0))}; a training needs at least {least}"
        for label in labels
        if counts.get(label, 0) < least
    ]
    if len(labels) < 2:
        only = f"the only one is {labels[0]!r}" if labels else "there is none"
        faults.append(f"a training needs at least two labels; {only}")
    total = sum(counts.get(label, 0) for label in labels)
    if fraction and not faults and int(-(-total * fraction // 1)) < len(labels):
        faults.append(
            f"{_pairs(total)} are too few for {len(labels)} labels: {fraction:.0%} of them are set "
            "aside for validation, and each label needs one there"
        )
    return faults


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"

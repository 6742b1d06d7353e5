"""Labels: any words or numbers, kept as text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from mmsent.errors import InputError

SENTIMENTS = ("negative", "neutral", "positive")
"""The labels of the task; the lexicon and the rated texts are about these."""
NO_LABEL = ("", "null")
"""Marks a row of a list as one to predict."""
VALIDATION_FRACTION = 0.1
"""The share of the pairs that training sets aside for validation, if there is no other set."""
MAX_LABEL = 64
"""A longer label, in characters, is refused."""
SEVERAL_LABELS = "has several labels; mmsent supports one label per pair"
NESTED = "[…]"
"""Stands for a list or an object in the label column; it is never a valid label."""

# A spreadsheet that opens the predictions would evaluate such a guid or label. Ids such as -12 and
# -dQw4w9WgXcQ are accepted: without an operator or a call there is nothing to evaluate.
FORMULA = re.compile(r"[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\w.-]*$)")  # also full-width ones
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_INTEGRAL = re.compile(r"([+-]?\d+)\.0+")
_JOINER = re.compile("(?<=[^\u200c\u200d])[\u200c\u200d](?=[^\u200c\u200d])")
"""A zero-width joiner or non-joiner between two characters, as in Persian and Hindi words."""


def plain_label(cell: str) -> str:
    """A label from a list: stripped, and 1.0 as 1."""
    label = cell.strip()
    match = _INTEGRAL.fullmatch(label)
    return match[1] if match else label


def are_sentiments(labels: Iterable[str]) -> bool:
    """Whether ``labels`` are the three sentiments, in any order."""
    return set(labels) == set(SENTIMENTS)


def label_fault(label: str) -> str | None:
    """Why ``label`` is invalid, or None: labels go into tables that people open."""
    if label in NO_LABEL:
        return "the label is missing"
    if label.startswith("[") and label.endswith("]"):  # how pandas writes a list
        return f"{label[:20]!r} {SEVERAL_LABELS}"
    if len(label) > MAX_LABEL:
        return f"the label is longer than {MAX_LABEL} characters ({label[:20]!r}…)"
    if not _JOINER.sub("", label).isprintable():
        return f"a label can't contain control characters ({label!r})"
    if FORMULA.match(label):
        return f"a spreadsheet would evaluate the label {label!r} as a formula"
    return None


def parse_labels(text: str) -> tuple[str, ...]:
    """The labels in the option --labels, such as "no,maybe,yes", in order. Raises InputError."""
    labels = tuple(plain_label(item) for item in text.split(","))
    for label in labels:
        if fault := label_fault(label):
            raise InputError(f"--labels {text}: {fault}")
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(f"--labels {text}: name at least two labels, all different")
    return labels


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels, sorted: numbers by value, otherwise as text.

    This sorts the sentiments as the task does: negative, neutral, positive.
    """
    found = set(labels)
    if all(_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    return tuple(sorted(found))


def label_columns(labels: Sequence[str], others: Iterable[str]) -> dict[str, str]:
    """The name of each label's column in a table that also has the columns ``others``.

    It is the label, with a _ appended if another column has that name.
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
    """The message about a label that is not among ``labels``."""
    same = [known for known in labels if _folded(known) == _folded(label)]
    hint = f"; did you mean {same[0]!r}?" if same else f"; it must be one of {', '.join(labels)}"
    return f"unknown label {label!r}{hint}"


def similar_labels(labels: Iterable[str]) -> list[str]:
    """Messages about labels that people would take for the same, which is probably a mistake."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_folded(label), []).append(label)
    return [
        f"the labels {', '.join(map(repr, group))} differ only in case, spaces or Unicode form; "
        "if they mean the same, use one spelling"
        for group in groups.values()
        if len(group) > 1
    ]


def _folded(label: str) -> str:
    # NFKC: macOS writes é in file names as two characters, and Chinese keyboards write full width.
    return "".join(unicodedata.normalize("NFKC", label).split()).casefold()


def label_faults(
    counts: Mapping[str, int], labels: Sequence[str], *, fraction: float = 0.0
) -> list[str]:
    """The reasons why training on ``labels`` is impossible; ``counts``: pairs per label.

    ``fraction``: the share of the pairs to set aside for validation, or 0 if there is another
    validation set. Each label needs a pair on both sides.
    """
    least = 2 if fraction else 1
    faults = [
        f"the label {label!r} has {_pairs(counts.get(label, 0))}; training needs at least {least}"
        for label in labels
        if counts.get(label, 0) < least
    ]
    if len(labels) < 2:
        only = f"the only one is {labels[0]!r}" if labels else "there is none"
        faults.append(f"training needs at least two labels; {only}")
    total = sum(counts.get(label, 0) for label in labels)
    aside = int(-(-total * fraction // 1))
    if fraction and not faults and min(aside, total - aside) < len(labels):
        where = "there" if aside < len(labels) else "among the others"
        faults.append(
            f"{_pairs(total)} are too few for {len(labels)} labels: {100 * fraction:.3g}% of them "
            f"are set aside for validation, and each label needs one {where}"
        )
    return faults


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"

"""report.md of a run, and its wrong predictions with the highest probabilities."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsent.data.pair import Pair
from mmsent.data.repeats import Entry, Use, find_repeats
from mmsent.errors import summarize
from mmsent.files.atomic import atomic_path
from mmsent.files.console import readable
from mmsent.files.progress import counted
from mmsent.inputs.coverage import Coverage
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.metrics import describe
from mmsent_training.examples import Examples
from mmsent_training.runs.record import Record

MISTAKES = 12
"""The number of wrong predictions in a report."""


@dataclass(frozen=True)
class Mistake:
    """A wrongly predicted pair, with the ``predicted`` label and its ``probability``."""

    pair: Pair
    text: str
    tag: str
    predicted: str
    probability: float


def find_mistakes(
    examples: Examples, indices: Sequence[int], probabilities: Floats
) -> list[Mistake]:
    """The MISTAKES wrong predictions with the highest probabilities, the highest first.

    ``probabilities``, float32 [indices, labels], are those of the examples at ``indices``.
    """
    names = examples.label_names
    mistakes = [
        Mistake(
            pair=examples.pairs[index],
            text=examples.texts[index],
            tag=names[examples.labels[index]],
            predicted=names[int(row.argmax())],
            probability=float(row.max()),
        )
        for index, row in zip(indices, probabilities)
        if row.argmax() != examples.labels[index]
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.probability)[:MISTAKES]


def have_images(mistakes: Sequence[Mistake]) -> bool:
    """Whether any of them has an image to draw: a model of texts is given none."""
    return any(not mistake.pair.lacks("image") for mistake in mistakes)


def describe_data(
    examples: Examples, train: Sequence[int], validation: Sequence[int], coverage: Coverage
) -> str:
    """Reasons to doubt the scores: repeated pairs and unknown texts, as in `check-data`.

    ``train`` and ``validation`` are rows of ``examples``; ``coverage`` is of their texts.
    """
    uses: dict[Use, Sequence[int]] = {"training": train, "validation": validation}
    entries = [
        Entry(examples.pairs[row], use, _digest(examples.texts[row]), examples.image_digests[row])
        for use, rows in uses.items()
        for row in rows
    ]
    repeats, warnings = find_repeats(entries)
    lines = [
        "| the same | pairs that share it | of those to validate on, shared with one to train on |",
        "| --- | --- | --- |",
        *(f"| {kind} | {each.pairs} | {each.trained_on} |" for kind, each in repeats.items()),
        "",
        f"The tokenizer does not know {coverage.unknown_tokens} of {coverage.tokens} tokens; "
        f"{coverage.unknown_texts} of {coverage.texts} texts are mostly unknown.",
    ]
    if warnings:
        lines += ["", "```", *map(readable, summarize(warnings)), "```"]
    return "\n".join(lines)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest() if text else b""


def write_report(path: Path, record: Record, data: str, mistakes: Sequence[Mistake]) -> None:
    """Write report.md from the content of run.json, `describe_data`, and the ``mistakes``."""
    settings = "\n".join(f"| {key} | {value} |" for key, value in vars(record.settings).items())
    dataset, calibration = record.dataset, record.calibration
    kept = (
        f"Kept epoch: {record.kept_epoch} of {record.epochs}, the best by validation macro F1."
        if record.settings.keep == "best"
        else f"{counted(record.epochs, 'epochs')}, of which the last is kept: the validation pairs "
        "set nothing but the temperature."
    )
    source = f" of `{dataset.path}`"
    if dataset.validation:
        source = f", of `{dataset.path}` and `{dataset.validation}`"
    text = f"""# {record.model["name"]} model, {record.created}

{record.chosen}. Trained on {counted(dataset.train_pairs, "pairs")} and validated on
{dataset.validation_pairs}{source}, in {record.seconds:.0f} s on
{record.environment.gpu or "the CPU"}. {kept}

## Validation

```
{describe(record.metrics)}
```

![learning curves](curves.png)

![confusion matrix](confusion.png)

## Data

{data}

## Probabilities

Divided by a temperature of {calibration.temperature}, fitted on these pairs, the logits give
probabilities whose expected calibration error is {calibration.error_after:.3f};
it was {calibration.error_before:.3f} before.

![reliability](reliability.png)

## Confident but wrong

{_mistakes(mistakes)}

Every epoch: [history.csv](history.csv). Every validation pair with its probabilities:
[validation_predictions.csv](validation_predictions.csv).

## Settings

| setting | value |
| --- | --- |
{settings}
"""
    with atomic_path(path) as part:
        part.write_text(readable(text), encoding="utf-8")


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    """A table of mistakes, with untrusted texts escaped."""
    if not mistakes:
        return "None: every validation pair was right."
    lines = [
        "The wrong labels with the highest probabilities.",
        "",
        *(["![the images](mistakes.png)", ""] if have_images(mistakes) else []),
        "| guid | text | is | predicted | probability |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in mistakes:
        cells = map(_plain, (row.pair.guid, row.text[:200], row.tag, row.predicted))
        lines.append(f"| {' | '.join(cells)} | {row.probability:.2f} |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """``text`` on one line, escaped for Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", " ".join(text.split()))

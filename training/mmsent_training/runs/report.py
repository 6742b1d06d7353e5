"""report.md of a run, and its wrong predictions with the highest probabilities."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmsent.data.pair import Pair
from mmsent.data.repeats import Entry, Use, find_repeats
from mmsent.errors import summarize
from mmsent.files.atomic import atomic_path
from mmsent.files.console import readable
from mmsent.files.progress import counted
from mmsent.inputs.coverage import Coverage
from mmsent.markdown import escape
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.metrics import describe
from mmsent_training.examples import Examples
from mmsent_training.runs.record import Record
from mmsent_training.settings import Settings

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
    """The MISTAKES wrong predictions with the highest probabilities, highest first.

    ``probabilities``: of the examples at ``indices``, float32 [indices, labels].
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
    """Whether any of them has an image to draw; a model of texts gets none."""
    return any(not mistake.pair.lacks("image") for mistake in mistakes)


def describe_data(
    examples: Examples, train: Sequence[int], validation: Sequence[int], coverage: Coverage
) -> str:
    """Reasons to doubt the scores: repeated pairs and unknown texts, as in `check-data`.

    ``train`` and ``validation``: rows of ``examples``. ``coverage``: of their texts.
    `mmsent check-data` reports the same.
    """
    uses: dict[Use, Sequence[int]] = {"training": train, "validation": validation}
    entries = [
        Entry(examples.pairs[row], use, _digest(examples.texts[row]), examples.image_digests[row])
        for use, rows in uses.items()
        for row in rows
    ]
    repeats, warnings = find_repeats(entries)
    lines = [
        "| what is the same | pairs | validation pairs that share it with a training pair |",
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


def used_settings(settings: Settings, *, pretrained: bool, drawn: bool) -> dict[str, Any]:
    """The settings that had an effect, by name, with the model's options among them.

    ``pretrained``: whether pretrained parameters were trained. ``drawn``: whether the validation
    pairs were drawn from the dataset.
    """
    values, options = asdict(settings), settings.options
    unused = {
        "encoder_learning_rate": not pretrained,
        "augment": settings.modality == "text",
        "color_jitter": settings.modality == "text" or not settings.augment,
        "group_by_length": settings.modality == "image",
        "max_length": settings.modality == "image",
        "modality_dropout": settings.modality != "both",
        "patience": settings.keep == "last",
        "validation_fraction": not drawn,
        "split_seed": not drawn,
        "options": True,
    }
    return {name: value for name, value in values.items() if not unused.get(name)} | options


def write_report(
    path: Path, record: Record, data: str, mistakes: Sequence[Mistake], *, pretrained: bool
) -> None:
    """Write report.md. ``data``: of `describe_data`. ``pretrained``: see `used_settings`."""
    dataset, calibration, metrics = record.dataset, record.calibration, record.metrics
    used = used_settings(record.settings, pretrained=pretrained, drawn=dataset.validation is None)
    settings = "\n".join(f"| {name} | {value} |" for name, value in used.items())
    kept = (
        f"The weights are those of epoch {record.kept_epoch} of {record.epochs}, the best by "
        "macro F1 on the validation pairs."
        if record.settings.keep == "best"
        else f"The weights are those of the last of {counted(record.epochs, 'epochs')}. Only the "
        "temperature was fitted on the validation pairs."
    )
    lists = [f"`{dataset.path}`", *([f"`{dataset.validation}`"] if dataset.validation else [])]
    label, share = metrics.majority
    text = f"""# {record.model["name"]} model, {record.created}

{record.chosen}.

Trained on {counted(dataset.train_pairs, "pairs")} and validated on {dataset.validation_pairs},
from {" and ".join(lists)}, in {record.seconds:.0f} s on {record.environment.gpu or "the CPU"}.
{kept}

Accuracy on the validation pairs: {metrics.accuracy:.3f}. The majority baseline, which always
predicts {escape(label)}: {share:.3f}.

## Validation

```
{describe(metrics)}
```

![learning curves](curves.png)

![confusion matrix](confusion.png)

## Data

{data}

## Probabilities

The logits are divided by a temperature of {calibration.temperature}, which was fitted on these
pairs. That changes the expected calibration error from {calibration.error_before:.3f} to
{calibration.error_after:.3f}.

![reliability](reliability.png)

## Most confident mistakes

{_mistakes(mistakes)}

[history.csv](history.csv) has the scores of every epoch,
[validation_predictions.csv](validation_predictions.csv) the probabilities of every validation pair.

## Settings

Settings without effect on this model are left out.

| setting | value |
| --- | --- |
{settings}
"""
    with atomic_path(path) as part:
        part.write_text(readable(text), encoding="utf-8")


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    """A table of mistakes, with untrusted texts escaped."""
    if not mistakes:
        return "None: every validation pair was predicted correctly."
    lines = [
        "The wrong predictions with the highest probabilities.",
        "",
        *(["![the images](mistakes.png)", ""] if have_images(mistakes) else []),
        "| guid | text | label | predicted | probability |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in mistakes:
        cells = map(escape, (row.pair.guid, row.text[:200], row.tag, row.predicted))
        lines.append(f"| {' | '.join(cells)} | {row.probability:.2f} |")
    return "\n".join(lines)

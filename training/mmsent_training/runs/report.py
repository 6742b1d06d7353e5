"""What a run tells people: report.md, the learning curves and the confusion matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mmsent.data.dataset import LABELS, Row, image_file, image_of
from mmsent.files.atomic import atomic_path
from mmsent.inputs.image import ImageSettings, load_image
from mmsent_training.data import Pairs
from mmsent_training.evaluation.metrics import describe

MISTAKES = 12
"""How many wrong predictions a report shows."""

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: told apart by the colour-blind, too


def write_curves(path: Path, history: Sequence[dict[str, float]], kept_epoch: int) -> None:
    """Draw losses and validation scores by epoch; ``kept_epoch`` is the one whose weights stay."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    losses.plot(epochs, [row["train_loss"] for row in history], "o-", color=BLUE, label="training")
    losses.plot(
        epochs, [row["validation_loss"] for row in history], "s--", color=ORANGE, label="validation"
    )
    losses.set_title("loss")
    scores.plot(epochs, [row["accuracy"] for row in history], "o-", color=BLUE, label="accuracy")
    scores.plot(epochs, [row["macro_f1"] for row in history], "s--", color=ORANGE, label="macro F1")
    scores.set_title("validation")
    for axes in (losses, scores):
        axes.axvline(kept_epoch, color="0.75", zorder=0, label="the epoch that is kept")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    save(figure, path)


def write_confusion(path: Path, confusion: Sequence[Sequence[int]]) -> None:
    """Draw the confusion matrix: pairs, and the share of each true label."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(LABELS))
    axes.set_xticks(ticks, LABELS)
    axes.set_yticks(ticks, LABELS, rotation=90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for i in ticks:
        for j in ticks:
            colour = "white" if shares[i][j] > 0.5 else "black"
            label = f"{confusion[i][j]}\n{shares[i][j]:.0%}"
            axes.text(j, i, label, ha="center", va="center", color=colour)
    save(figure, path)


def write_reliability(path: Path, bins: Sequence[dict[str, float]], error: float) -> None:
    """Draw how often predictions are right by their probability: see `reliability`."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color="0.6", label="calibrated")
    confidence, accuracy = ([row[key] for row in bins] for key in ("confidence", "accuracy"))
    most = max(row["pairs"] for row in bins)
    sizes = [20 + 180 * row["pairs"] / most for row in bins]
    axes.plot(confidence, accuracy, color=BLUE)
    axes.scatter(confidence, accuracy, sizes, color=BLUE, label="pairs (area: how many)")
    axes.set_xlabel("probability of the predicted label")
    axes.set_ylabel("share that is right")
    axes.set_title(f"expected calibration error {error:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    save(figure, path)


@dataclass(frozen=True)
class Mistake:
    """A pair whose ``predicted`` label is not its ``tag``, and the probability that it got."""

    guid: str
    text: str
    image: str | bytes
    tag: str
    predicted: str
    probability: float


def find_mistakes(
    pairs: Pairs, indices: Sequence[int], probabilities: npt.NDArray[np.float32]
) -> list[Mistake]:
    """The MISTAKES wrong predictions with the highest probabilities, the highest first.

    ``probabilities``, float32 [indices, labels], are those of the pairs at ``indices``.
    """
    mistakes = [
        Mistake(
            guid=pairs.rows[index].guid,
            text=pairs.texts[index],
            image=_image(pairs.folder, pairs.rows[index]),
            tag=LABELS[pairs.labels[index]],
            predicted=LABELS[int(row.argmax())],
            probability=float(row.max()),
        )
        for index, row in zip(indices, probabilities)
        if row.argmax() != pairs.labels[index]
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.probability)[:MISTAKES]


def _image(folder: Path, row: Row) -> str | bytes:
    """Where the image lies or, of a pair that isn't in files, its bytes."""
    return image_file(folder, row.guid) if row.packed is None else image_of(folder, row)


def write_mistakes(path: Path, mistakes: Sequence[Mistake], settings: ImageSettings) -> None:
    """Draw the images of mistakes as the model sees them, under what was wrong."""
    rows = -(-len(mistakes) // 4)
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    for number, mistake in enumerate(mistakes, start=1):
        axes = figure.add_subplot(rows, 4, number)
        axes.imshow(load_image(mistake.image, settings))
        axes.set_title(f"{mistake.tag}, not {mistake.predicted}", fontsize=9)
        axes.set_axis_off()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG."""
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=120)


def write_report(path: Path, record: dict[str, Any], mistakes: Sequence[Mistake]) -> None:
    """Write report.md from what run.json holds, and the ``mistakes``."""
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    dataset, metrics = record["dataset"], record["metrics"]
    calibration = record["calibration"]
    kept = (
        f"Best epoch: {record['best_epoch']} of {record['epochs']} (by validation macro F1)."
        if record["settings"]["keep"] == "best"
        else f"{record['epochs']} epochs, of which the last is kept: the validation pairs decided "
        "nothing but the temperature."
    )
    text = f"""# {record["model"]["name"]} model, {record["created"]}

{record["chosen"]}. Trained on {dataset["train_pairs"]} pairs and validated on
{dataset["validation_pairs"]} of `{dataset["folder"]}`, in {record["seconds"]:.0f} s on
{record["environment"]["gpu"] or "the CPU"}. {kept}

## Validation

```
{describe(metrics)}
```

![learning curves](curves.png)

![confusion matrix](confusion.png)

## Probabilities

Divided by a temperature of {calibration["temperature"]}, which these pairs decided, the logits give
probabilities whose expected calibration error is {calibration["error_after"]:.3f};
it was {calibration["error_before"]:.3f} before.

![reliability](reliability.png)

## Most confidently wrong

{_mistakes(mistakes)}

Every epoch: [history.csv](history.csv). Every validation pair with its probabilities:
[validation_predictions.csv](validation_predictions.csv).

## Settings

| setting | value |
| --- | --- |
{settings}
"""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    """A table of mistakes; a text is cut, and can't end its cell, its line or become markup."""
    if not mistakes:
        return "None: every validation pair was right."
    lines = [
        "The wrong labels with the highest probabilities.",
        "",
        "![the images](mistakes.png)",
        "",
        "| guid | text | is | predicted | probability |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in mistakes:
        text = re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", " ".join(row.text[:200].split()))
        lines.append(
            f"| {row.guid} | {text} | {row.tag} | {row.predicted} | {row.probability:.2f} |"
        )
    return "\n".join(lines)

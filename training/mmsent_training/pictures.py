"""Pictures of a training and of predictions, all in one style."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmsent.files.atomic import atomic_path
from mmsent.inputs.image import ImageSettings
from mmsent_training.evaluation.metrics import Scores
from mmsent_training.loop import Epoch
from mmsent_training.runs.report import Mistake

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: told apart by the colour-blind, too


def write_curves(path: Path, history: Sequence[Epoch], kept_epoch: int) -> None:
    """Draw losses and validation scores by epoch; ``kept_epoch`` is the one whose weights stay."""
    rows = pd.DataFrame(map(asdict, history)).set_index("epoch")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    losses.plot(rows["train_loss"], "o-", color=BLUE, label="training")
    losses.plot(rows["validation_loss"], "s--", color=ORANGE, label="validation")
    losses.set_title("loss")
    scores.plot(rows["accuracy"], "o-", color=BLUE, label="accuracy")
    scores.plot(rows["macro_f1"], "s--", color=ORANGE, label="macro F1")
    scores.set_title("validation")
    for axes in (losses, scores):
        axes.axvline(kept_epoch, color="0.75", zorder=0, label="the epoch that is kept")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    save(figure, path)


def write_scores(folder: Path, scores: Scores) -> None:
    """Draw confusion.png and reliability.png into a folder."""
    for name, draw in (("confusion", _draw_confusion), ("reliability", _draw_reliability)):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        draw(figure.subplots(), scores)
        save(figure, folder / f"{name}.png")


def _draw_confusion(axes: Axes, scores: Scores) -> None:
    """The confusion matrix: pairs, and the share of each true label."""
    counts, names = np.array(scores.confusion), [*scores.classes]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    axes.set(xlabel="predicted", ylabel="true")
    for (row, column), share in np.ndenumerate(shares):
        label, colour = f"{counts[row, column]}\n{share:.0%}", "white" if share > 0.5 else "black"
        axes.text(column, row, label, ha="center", va="center", color=colour)


def _draw_reliability(axes: Axes, scores: Scores) -> None:
    """How often predictions are right, by their probability."""
    bins = pd.DataFrame(map(asdict, scores.reliability))
    areas = 20 + 180 * bins["pairs"] / bins["pairs"].max()
    axes.plot([0, 1], [0, 1], "--", color="0.6", label="calibrated")
    confidence, accuracy = bins["confidence"], bins["accuracy"]
    axes.plot(confidence, accuracy, color=BLUE)
    axes.scatter(confidence, accuracy, areas, color=BLUE, label="pairs (area: how many)")
    axes.set(xlabel="probability of the predicted label", ylabel="share that is right")
    axes.set(title=f"expected calibration error {scores.calibration_error:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")


def write_mistakes(path: Path, mistakes: Sequence[Mistake], settings: ImageSettings) -> None:
    """Draw the images of mistakes as the model sees them, under what was wrong."""
    rows = -(-len(mistakes) // 4)
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    for number, mistake in enumerate(mistakes, start=1):
        axes = figure.add_subplot(rows, 4, number)
        axes.imshow(mistake.pair.load_image(settings))
        axes.set_title(f"{mistake.tag}, not {mistake.predicted}", fontsize=9)
        axes.set_axis_off()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=120)

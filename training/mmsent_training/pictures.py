"""Pictures of a training and of predictions, all in one style."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmsent.errors import Problem
from mmsent.files.atomic import atomic_path
from mmsent.inputs.image import ImageSettings
from mmsent_training.evaluation.metrics import Scores, columns
from mmsent_training.fonts import drawn_labels
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
    _write_confusion(folder / "confusion.png", scores)
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    _draw_reliability(figure.subplots(), scores)
    save(figure, folder / "reliability.png")


def _write_confusion(path: Path, scores: Scores) -> None:
    """Draw the confusion matrix: pairs, and the share of each true label, where there is room."""
    counts = np.array(scores.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    number = len(counts)
    cell = min(1.0, max(0.28, 6 / number), 14 / number)  # inches
    with drawn_labels([*scores.classes], width=24) as names:
        longest = max(map(columns, names)) * 0.09  # inches, at most
        turned = longest > cell
        margin = 1.2 + longest * turned
        side = number * cell + margin
        figure = Figure(figsize=(side + 0.4, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ticks = range(0, number, -(-number // 120))  # of thousands, as many as can be read
        shown, font = [names[tick] for tick in ticks], 10 if cell > 0.25 else 6
        axes.set_xticks(ticks, shown, rotation=90 if turned else 0, fontsize=font)
        upright = turned or longest < 0.3
        axes.set_yticks(ticks, shown, rotation=0 if upright else 90, va="center", fontsize=font)
        axes.set(xlabel="predicted", ylabel="true")
        for row, column in np.argwhere(counts) if cell < 0.6 else np.ndindex(counts.shape):
            count, share = counts[row, column], shares[row, column]
            label = f"{count}\n{share:.0%}" if cell >= 0.6 else str(count)
            colour = "white" if share > 0.5 else "black"
            size = 10 if cell >= 0.6 else 7
            if cell > 0.25:
                axes.text(column, row, label, ha="center", va="center", fontsize=size, color=colour)
        save(figure, path)


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
    labels = sorted({label for row in mistakes for label in (row.tag, row.predicted)})
    with drawn_labels(labels, width=26) as names:
        short = dict(zip(labels, names))
        for number, mistake in enumerate(mistakes, start=1):
            axes = figure.add_subplot(rows, 4, number)
            tag, predicted = short[mistake.tag], short[mistake.predicted]
            between = ", " if columns(tag + predicted) < 26 else ",\n"
            axes.set_title(f"{tag}{between}not {predicted}", fontsize=9)
            axes.set_axis_off()
            image = mistake.pair.attempt("image", partial(mistake.pair.load_image, settings))
            if isinstance(image, Problem):
                axes.text(0.5, 0.5, "no image", ha="center", va="center", color="0.5")
            else:
                axes.imshow(image)
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=120)

"""The pictures of a training and of predictions. `style.save` writes what these return."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from mmsent.errors import Problem
from mmsent.inputs.image import ImageSettings, load_view
from mmsent_training.evaluation.calibration import BINS, Floats
from mmsent_training.evaluation.metrics import Scores
from mmsent_training.evaluation.selective import CoveragePoint
from mmsent_training.fonts import drawn_labels, drawn_texts, points, wrap
from mmsent_training.loop import Epoch
from mmsent_training.runs.report import Mistake
from mmsent_training.settings import Modality
from mmsent_training.style import BLACK, BLUE, GREY, ORANGE, SMALL, legend_below, save, style

WIDTH, GAP, PICTURE, CAPTION = 2.6, 0.25, 2.3, 1.5
"""A mistake in inches: its width, the gap to the next, the heights of its image and its text."""
DOTS = 600
"""An image of a mistake has at most so many pixels in each direction: more than are shown."""

Counts = npt.NDArray[np.int64]


def write_scores(folder: Path, scores: Scores) -> None:
    """Draw confusion.png and reliability.png into a folder."""
    save(draw_confusion(scores), folder / "confusion.png")
    save(draw_reliability(scores), folder / "reliability.png")


def write_coverage(folder: Path, curve: Sequence[CoveragePoint]) -> None:
    """Draw coverage.png into a folder."""
    save(draw_coverage(curve), folder / "coverage.png")


@style()
def draw_curves(history: Sequence[Epoch], kept_epoch: int) -> Figure:
    """Losses and validation scores by epoch; ``kept_epoch`` is the one whose weights are kept."""
    epochs = [each.epoch for each in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False)
    losses, scores = left.subplots(), right.subplots()
    every = -(-len(epochs) // 20)
    for axes, key, label, kind, colour in (
        (losses, "train_loss", "training pairs", "o-", BLUE),
        (losses, "validation_loss", "validation pairs", "s--", ORANGE),
        (scores, "accuracy", "accuracy", "o-", BLUE),
        (scores, "macro_f1", "macro F1", "s--", ORANGE),
    ):
        values = [getattr(each, key) for each in history]
        axes.plot(epochs, values, kind, color=colour, label=label, markevery=every)
    most = max(max(each.train_loss, each.validation_loss) for each in history)
    pad = max(0.5, 0.02 * len(epochs))
    losses.set(title="Loss by epoch", ylabel="mean loss of a pair", ylim=(0, 1.08 * most))
    scores.set(title="Scores on the validation pairs", ylabel="score", ylim=(0, 1))
    for half, axes in ((left, losses), (right, scores)):
        axes.axvline(kept_epoch, color=GREY, linestyle=":", zorder=0, label="kept epoch")
        axes.set(xlabel="epoch", xlim=(epochs[0] - pad, epochs[-1] + pad))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid()
        legend_below(half, axes)
    return figure


@style()
def draw_confusion(scores: Scores) -> Figure:
    """The confusion matrix: pairs and, if there is room, the share of each true label."""
    counts = np.array(scores.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    number = len(counts)
    side = min(14, max(3.2, number * min(1, max(0.3, 6 / number))))  # inches
    cell = side / number
    with drawn_labels([*scores.classes], width=24) as names:
        longest = max(points(name, 10) for name in names) / 72
        turned = longest > 0.9 * cell
        figure = Figure(figsize=(side + longest + 2, side + (longest if turned else 0) + 1))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ticks = range(0, number, -(-number // 80))  # of thousands, as many as can be read
        shown = [names[tick] for tick in ticks]
        axes.set_xticks(ticks, shown, rotation=90 if turned else 0)
        axes.set_yticks(ticks, shown)
        axes.set(title=f"Confusion matrix of {scores.pairs} pairs")
        axes.set(xlabel="predicted label", ylabel="true label")
        axes.spines[:].set_visible(True)
        scale = axes.inset_axes((1 + 0.12 / side, 0, 0.16 / side, 1))
        bar = figure.colorbar(image, scale, format=PercentFormatter(1))
        bar.set_label("share of the true label's pairs")
        if cell > 0.25:
            _write_counts(axes, counts, shares, roomy=cell >= 0.6)
    return figure


def _write_counts(axes: Axes, counts: Counts, shares: Floats, *, roomy: bool) -> None:
    """Write the pairs into each cell; if it is large enough, also their share, and zeros."""
    for row, column in np.argwhere(counts >= (0 if roomy else 1)):
        count, share = counts[row, column], shares[row, column]
        axes.text(
            column,
            row,
            f"{count}\n{share:.0%}" if roomy else str(count),
            ha="center",
            va="center",
            color="white" if share > 0.5 else BLACK,
            fontsize=10 if roomy else SMALL,
        )


@style()
def draw_reliability(scores: Scores) -> Figure:
    """The share of correct predictions by probability; below, the number of predictions."""
    bins = pd.DataFrame(map(asdict, scores.reliability))
    figure = Figure(figsize=(5.4, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], "--", color=GREY, label="perfectly calibrated")
    confidence, accuracy = bins["confidence"], bins["accuracy"]
    above.plot(confidence, accuracy, "o-", color=BLUE, label="predictions", clip_on=False)
    above.set(title=f"Reliability: expected calibration error {scores.calibration_error:.3f}")
    above.set(ylabel="share correct", xlim=(0, 1), ylim=(0, 1))
    places = np.minimum(np.floor(confidence * BINS), BINS - 1) / BINS
    below.bar(places, bins["pairs"], 0.96 / BINS, align="edge", color=BLUE)
    below.set(xlabel="probability of the predicted label", ylabel="pairs")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (above, below):
        axes.grid()
    legend_below(figure, above)
    return figure


@style()
def draw_coverage(curve: Sequence[CoveragePoint]) -> Figure:
    """The accuracy of the most confident predictions, by the share of pairs that they cover."""
    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    shares, accuracies = [each.share for each in curve], [each.accuracy for each in curve]
    axes.axhline(accuracies[-1], color=GREY, linestyle="--", label="all predictions")
    axes.step(shares, accuracies, where="post", color=BLUE, label="the most confident ones")
    axes.set(title="Accuracy of the most confident predictions", xlim=(0, 1), ylim=(0, 1.02))
    axes.set(xlabel="share of the pairs that they cover", ylabel="accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid()
    legend_below(figure, axes)
    return figure


@style()
def draw_ablation(results: Mapping[Modality, Scores]) -> Figure:
    """Accuracy and macro F1 with 95 % intervals, by modality."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(results))
    for offset, key, colour, label in (
        (-0.19, "accuracy", BLUE, "accuracy"),
        (0.19, "macro_f1", ORANGE, "macro F1"),
    ):
        values = np.array([getattr(scores, key) for scores in results.values()])
        ends = np.array([getattr(scores.intervals, key) for scores in results.values()])
        errors = np.abs(ends - values[:, None]).T
        bars = axes.bar(
            places + offset, values, 0.36, yerr=errors, capsize=3, ecolor=BLACK, color=colour,
            label=label,
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.set_xticks(places, list(results))
    axes.set(title="Accuracy and macro F1 with 95 % intervals", ylabel="score", ylim=(0, 1.08))
    axes.set(xlabel="what the model sees", yticks=np.linspace(0, 1, 6))
    axes.grid(axis="y")
    legend_below(figure, axes)
    return figure


@style()
def draw_mistakes(mistakes: Sequence[Mistake], settings: ImageSettings) -> Figure:
    """The images of ``mistakes`` in rows of four, each above its guid, its labels and its text.

    ``settings``: only the part of an image that the model sees is drawn, undistorted.
    """
    across = min(4, len(mistakes))
    down = -(-len(mistakes) // across)
    height = down * (PICTURE + CAPTION) + 0.5
    figure = Figure(figsize=(across * WIDTH + (across - 1) * GAP, height))
    figure.suptitle("Confident but wrong", x=0, ha="left", size=12, weight="bold")
    grid = figure.add_gridspec(
        2 * down, across, height_ratios=[PICTURE, CAPTION] * down, left=0, right=1, bottom=0,
        top=1 - 0.5 / height, hspace=0, wspace=GAP / WIDTH,
    )  # fmt: skip
    labels = sorted({label for each in mistakes for label in (each.tag, each.predicted)})
    written = [text for each in mistakes for text in (each.pair.guid, each.text)]
    with drawn_labels(labels, width=24) as names, drawn_texts(written) as texts:
        short = dict(zip(labels, names))
        for number, mistake in enumerate(mistakes):
            row, column = divmod(number, across)
            _draw_image(figure.add_subplot(grid[2 * row, column]), mistake, settings)
            guid, text = texts[2 * number : 2 * number + 2]
            predicted = f"{short[mistake.predicted]} ({mistake.probability:.2f})"
            lines = (
                _fit(f"guid: {guid}", 1),
                _fit(f"true: {short[mistake.tag]}", 2),
                _fit(f"predicted: {predicted}", 2),
                _fit(text, 4) or "no text",
            )
            below = figure.add_subplot(grid[2 * row + 1, column])
            below.set_axis_off()
            below.text(0, 0.97, "\n".join(lines), va="top", fontsize=SMALL, linespacing=1.25)
    return figure


def _draw_image(axes: Axes, mistake: Mistake, settings: ImageSettings) -> None:
    """Draw the image at the bottom left, or a note that there is none."""
    pair = mistake.pair
    image: Image.Image | Problem | None = None
    if not pair.lacks("image"):
        image = pair.attempt("image", lambda: load_view(pair.read("image"), settings, DOTS))
    if isinstance(image, Image.Image):
        axes.imshow(image)
        axes.set_anchor("SW")
        axes.set_axis_off()
        return
    axes.set(xticks=[], yticks=[], facecolor="0.95")
    axes.spines[:].set_visible(False)
    said = "no image" if image is None else "the image can't be read"
    axes.text(0.5, 0.5, said, ha="center", va="center")


def _fit(text: str, lines: int) -> str:
    return wrap(text, 72 * WIDTH, SMALL, lines)

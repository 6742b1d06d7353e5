"""Are explanations faithful? Deletion curves, and pairs whose deciding parts are known.

    python benchmarks/explanations.py deletion --model model.onnx --data DIR --run RUN [--pairs 120]
    python benchmarks/explanations.py known [--model light] [--pairs 600]

``deletion`` takes validation pairs of a run. It deletes words, or cells of the image, in the order
of the explanation, the most important first, and in random order, and follows the predicted
label's probability. The result is the area under this curve, above the level at which everything is
deleted: the faster the probability falls, the smaller it is. It prints the mean areas, and the
mean of random minus explained with its 95 % bootstrap interval over the pairs.

``known`` trains a model, compact by default, on a dataset of `mmsent sample-data`, and explains
the pairs of another one. In each pair, some words and a patch of the image carry a label. It
counts the pairs in which one of them decided, because the other carries a label that was not
predicted: is the map's peak in the patch, and is the most important word one of those words?
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsent import Explanation, SentimentModel
from mmsent.data.sample import SIGNALS
from mmsent.data.training import TrainingSource
from mmsent.files.console import console
from mmsent.files.progress import Progress
from mmsent.inputs.image import MISSING
from result import write_result

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

STEPS = 10  # points of a curve, if there are enough parts
RESAMPLES = 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(WAYS))
    parser.add_argument("--model", help="for deletion: a bundle; for known: the model to train")
    parser.add_argument("--data", type=Path, help="for deletion: its dataset")
    parser.add_argument("--run", type=Path, help="for deletion: its run, with the validation pairs")
    parser.add_argument("--pairs", type=int, help="[default: 120, drawn at random; known: 600]")
    parser.add_argument("--orders", type=int, default=2, help="random orders per pair")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with console():
        result = WAYS[options.what](options)
    print(json.dumps(result, indent=2))
    write_result(options.json, result)


def deletion(options: argparse.Namespace) -> dict[str, object]:
    """The summary of the areas for words and for patches, see `areas`."""
    model, rng = SentimentModel(options.model), np.random.default_rng(0)
    with open(options.run / "validation_predictions.csv", encoding="utf-8", newline="") as file:
        validation = {row["guid"] for row in csv.DictReader(file)}
    pairs = [pair for pair in TrainingSource(options.data).read().train if pair.guid in validation]
    count = min(options.pairs or 120, len(pairs))
    pairs = [pairs[place] for place in rng.choice(len(pairs), count, replace=False)]
    found: dict[str, list[tuple[float, float]]] = {"words": [], "patches": []}
    with Progress("explaining", len(pairs), "pairs") as progress:
        for pair in pairs:
            text, image = pair.read_text(), pair.load_image(model.info.image)
            explanation = model.explain(text, image)
            values = np.array([word.value for word in explanation.words])
            if len(values) > 1:
                delete = partial(without_words, explanation, image)
                row = areas(model, explanation.label, values, delete, options.orders, rng)
                found["words"].append(row)
            regions = np.asarray(explanation.regions)
            delete = partial(without_cells, text, image, len(regions))
            row = areas(model, explanation.label, regions.ravel(), delete, options.orders, rng)
            found["patches"].append(row)
            progress.update()
    summaries = {name: summary(np.asarray(rows), rng) for name, rows in found.items()}
    return {"model": model.info.model, "orders": options.orders, **summaries}


def areas(
    model: SentimentModel,
    label: str,
    values: Floats,
    delete: Callable[[set[int]], tuple[str, Pixels]],
    orders: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The area under the curve in the order of ``values``, and the mean of ``orders`` random ones.

    ``delete`` returns the pair without some of the parts that have these values.
    """
    count = len(values)
    cuts = np.unique(np.linspace(0, count, min(STEPS, count) + 1).round().astype(int))
    sequences = [
        np.argsort(-values, kind="stable"),
        *(rng.permutation(count) for _ in range(orders)),
    ]
    pairs = [delete(set(order[:cut].tolist())) for order in sequences for cut in cuts]
    predictions = model.predict([text for text, _ in pairs], [image for _, image in pairs])
    curves = np.array([each.probabilities[label] for each in predictions]).reshape(-1, len(cuts))
    found = np.trapezoid(curves - curves[:, -1:], cuts / count, axis=1)
    return float(found[0]), float(found[1:].mean())


def without_words(explanation: Explanation, image: Pixels, gone: set[int]) -> tuple[str, Pixels]:
    """The part of the text that the model reads, without some words, and the image."""
    ends = [word.start for word in explanation.words[1:]] + [explanation.read]
    starts = [0, *ends]
    kept = (place for place in range(len(ends)) if place not in gone)
    return "".join(explanation.text[starts[place] : ends[place]] for place in kept), image


def without_cells(text: str, image: Pixels, grid: int, gone: set[int]) -> tuple[str, Pixels]:
    """The text, and the image with some cells in the colour of a missing image."""
    edges = np.arange(grid + 1) * len(image) // grid
    hidden = image.copy()
    for row, column in (divmod(cell, grid) for cell in gone):
        hidden[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = MISSING
    return text, hidden


def summary(rows: Floats, rng: np.random.Generator) -> dict[str, object]:
    """The means of areas [pairs, explained and random], and of random minus explained."""
    explained, random = rows.mean(axis=0)
    differences = rows[:, 1] - rows[:, 0]
    drawn = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    interval = np.percentile(differences[drawn].mean(axis=1), (2.5, 97.5))
    return {
        "pairs": len(rows),
        "explained": float(explained),
        "random": float(random),
        "difference": float(differences.mean()),
        "interval": interval.tolist(),
    }


def known(options: argparse.Namespace) -> dict[str, object]:
    """How often the peak is in the patch, and the most important word is a deciding one."""
    model, count = options.model or "compact", options.pairs or 600
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run("sample-data", work / "dataset")
        run("sample-data", work / "other", "--seed", 1, "--pairs", count)
        arguments = "--model", model, "--data", work / "dataset", "--output", work / "run"
        run("train", *arguments)
        run("export", "onnx", work / "run", "--output", work / "model.onnx")
        found = count_hits(SentimentModel(work / "model.onnx"), work / "other")
    return {"model": model, **found}


def run(*arguments: object) -> None:
    """Run an mmsent command."""
    subprocess.run([sys.executable, "-m", "mmsent", *map(str, arguments)], check=True)


def count_hits(model: SentimentModel, data: Path) -> dict[str, object]:
    """The pairs that were decided by their patch, and those decided by their words."""
    pairs = TrainingSource(data).read().train
    with open(data / SIGNALS, encoding="utf-8", newline="") as file:
        signals = {row["guid"]: row for row in csv.DictReader(file)}
    parts = [(pair.read_text(), pair.load_image(model.info.image)) for pair in pairs]
    predictions = model.predict([text for text, _ in parts], [image for _, image in parts])
    peaks: list[bool] = []
    words: list[bool] = []
    with Progress("explaining", len(pairs), "pairs") as progress:
        for pair, (text, image), prediction in zip(pairs, parts, predictions):
            signal = signals[pair.guid]
            labels = signal["text_label"], signal["image_label"]
            progress.update()
            if labels[0] == labels[1] or prediction.label not in labels:
                continue
            explanation = model.explain(text, image)
            if prediction.label == signal["image_label"]:
                peaks.append(peak_inside(np.asarray(explanation.regions), signal))
            else:
                best = max(explanation.words, key=lambda word: word.value)
                words.append(any(word in best.text for word in signal["words"].split()))
    return {
        "pairs": len(pairs),
        "patch": {"decided": len(peaks), "found": sum(peaks)},
        "words": {"decided": len(words), "found": sum(words)},
    }


def peak_inside(regions: Floats, signal: dict[str, str]) -> bool:
    """Whether the smooth map is highest in the patch; its peak is at the centre of a cell."""
    row, column = np.unravel_index(regions.argmax(), regions.shape)
    x, y = (float(place + 0.5) / len(regions) for place in (column, row))
    left, top, right, bottom = (float(signal[edge]) for edge in ("left", "top", "right", "bottom"))
    return left <= x <= right and top <= y <= bottom


WAYS = {"deletion": deletion, "known": known}

if __name__ == "__main__":
    main()

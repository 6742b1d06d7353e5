"""Are explanations faithful? Deletion curves, and pairs whose deciding parts are known.

    python benchmarks/explanations.py deletion --model model.onnx --data DIR --run RUN [--pairs 120]
    python benchmarks/explanations.py known --model model.onnx --data SAMPLE

``deletion`` takes validation pairs of a run. It deletes words, or cells of the image, in the order
of the explanation, the most valuable first, and in random order, and follows the probability of the
predicted label. The result is the area under this curve, above the level at which everything is
deleted: the faster the probability falls, the smaller it is. It prints the mean areas, and the
mean of random minus explained with its 95 % bootstrap interval over the pairs.

``known`` takes a dataset of `mmsent sample-data`, with another --seed than the training's. In each
pair, some words and a patch of the image carry a label. It counts the pairs in which one of them
decided, because the other carries a label that was not predicted: is the map's peak in the patch,
and is the most valuable word one of those words?
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsent import Explanation, SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.pair import Pair
from mmsent.data.sample import SIGNALS
from mmsent.files.console import console
from mmsent.files.progress import Progress
from mmsent.inputs.image import MISSING

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

STEPS = 10  # of a curve, if there is enough to delete
RESAMPLES = 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["deletion", "known"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--run", type=Path, help="for deletion: the run whose validation pairs are used"
    )
    parser.add_argument("--pairs", type=int, default=120, help="drawn at random; 0: all")
    parser.add_argument("--orders", type=int, default=2, help="random orders per pair")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = SentimentModel(options.model)
    pairs = [
        row for row in open_dataset(options.data).select(TRAINING).rows() if isinstance(row, Pair)
    ]
    if options.what == "deletion":
        with open(options.run / "validation_predictions.csv", encoding="utf-8", newline="") as file:
            wanted = {row["guid"] for row in csv.DictReader(file)}
        pairs = [pair for pair in pairs if pair.guid in wanted]
    rng = np.random.default_rng(options.seed)
    if options.pairs and options.pairs < len(pairs):
        pairs = [pairs[place] for place in rng.choice(len(pairs), options.pairs, replace=False)]
    with console():
        if options.what == "known":
            result = known(model, options.data, pairs)
        else:
            result = deletion(model, pairs, options.orders, rng)
    print(json.dumps({"model": model.info.model, "pairs": len(pairs), **result}, indent=2))


def deletion(
    model: SentimentModel, pairs: Sequence[Pair], orders: int, rng: np.random.Generator
) -> dict[str, object]:
    """The summary of the areas for words and for patches, see `areas`."""
    found: dict[str, list[tuple[float, float]]] = {"words": [], "patches": []}
    with Progress("explaining", len(pairs), "pairs") as progress:
        for pair in pairs:
            text, image = pair.read_text(), pair.load_image(model.info.image)
            explanation = model.explain(text, image)
            values = np.array([word.value for word in explanation.words])
            if len(values) > 1:
                delete = partial(without_words, explanation, image)
                row = areas(model, explanation.label, values, delete, orders, rng)
                found["words"].append(row)
            regions = np.asarray(explanation.regions)
            delete = partial(without_cells, text, image, len(regions))
            row = areas(model, explanation.label, regions.ravel(), delete, orders, rng)
            found["patches"].append(row)
            progress.update()
    return {name: summary(np.asarray(rows), rng) for name, rows in found.items()}


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
    """Of areas [pairs, explained and random]: the means, and random minus explained."""
    explained, random = rows.mean(axis=0)
    differences = rows[:, 1] - rows[:, 0]
    drawn = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    interval = np.percentile(differences[drawn].mean(axis=1), (2.5, 97.5))
    return {
        "pairs": len(rows),
        "explained": round(explained, 4),
        "random": round(random, 4),
        "explained / random": round(explained / random, 3),
        "random - explained": round(differences.mean(), 4),
        "95 % interval": [round(edge, 4) for edge in interval.tolist()],
    }


def known(model: SentimentModel, data: Path, pairs: Sequence[Pair]) -> dict[str, object]:
    """How often the peak is in the patch, and the most valuable word is one that decides."""
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
        "patch decided": len(peaks),
        "peak in the patch": sum(peaks),
        "words decided": len(words),
        "best word is one of them": sum(words),
    }


def peak_inside(regions: Floats, signal: dict[str, str]) -> bool:
    """Whether the smooth map is highest in the patch; its peak is at the centre of a cell."""
    row, column = np.unravel_index(regions.argmax(), regions.shape)
    x, y = (float(place + 0.5) / len(regions) for place in (column, row))
    left, top, right, bottom = (float(signal[edge]) for edge in ("left", "top", "right", "bottom"))
    return left <= x <= right and top <= y <= bottom


if __name__ == "__main__":
    main()

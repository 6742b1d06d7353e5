"""`mmsent train --from` with additional pairs, compared with training on all pairs from scratch.

    python benchmarks/continued.py --data DIR [--model light] [--folds 5] [--set FIELD=VALUE ...]
                                   [--work FOLDER] [--json FILE]

In each fold of a cross-validation within the training pairs, the first run trains on 13 of 18 of
them, as 2,600 of 3,600 would be. Then one training continues from that run with all pairs, and one
starts from scratch. Both run the command, in turn, and are scored on the fold's pairs;
--set is for the one that goes on. The difference of the losses has a 95 % interval of the paired
bootstrap over the pairs. Runs stay in --work, and what is there is not trained again.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from mmsent.data.pair import Pair
from mmsent.data.training import TrainingSource
from mmsent.options import FOLDER
from mmsent_training.cross_validation.folds import divide_folds
from mmsent_training.evaluation.metrics import macro_f1
from mmsent_training.examples import divide, read_examples
from mmsent_training.runs.record import RECORD
from mmsent_training.runs.run import PREDICTIONS
from mmsent_training.settings import Settings
from result import write_result

FIRST = 13 / 18
SAMPLES = 10_000
SECONDS = "seconds.txt"
HEADER = ("guid", "text", "image", "label", "split")


def write_list(path: Path, parts: Sequence[tuple[str, Sequence[Pair]]]) -> Path:
    """Write a list of pairs with a split column."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for split, pairs in parts:
            for pair in pairs:
                row = [pair.guid, pair.read_text(), f"{pair.guid}.jpg", pair.label, split]
                writer.writerow(row)
    return path


def train(output: Path, data: Path, images: Path, *more: str) -> Path:
    """Run `mmsent train`, unless its run exists, and store its seconds."""
    if not (output / RECORD).exists():
        shutil.rmtree(output, ignore_errors=True)  # left by an interrupted training
        command = [sys.executable, "-m", "mmsent", "train", "--data", data, "--images", images]
        began = time.perf_counter()
        subprocess.run([*command, "--output", output, *more], check=True)
        (output / SECONDS).write_text(f"{time.perf_counter() - began:.1f}")
    return output


def losses(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The negative log-likelihood of each validation pair, its label and the predicted one."""
    table = pd.read_csv(run / PREDICTIONS, dtype={"guid": str, "tag": str, "predicted": str})
    names = sorted(table["tag"].unique())
    true = table["tag"].map(names.index).to_numpy()
    probabilities = table[names].to_numpy()[np.arange(len(table)), true]
    predicted = table["predicted"].map(names.index).to_numpy()
    return -np.log(np.maximum(probabilities, 1e-6)), true, predicted


def compare(runs: dict[str, list[Path]]) -> dict[str, Any]:
    """The scores of both ways over all folds, and the interval of the losses' mean difference."""
    found: dict[str, Any] = {}
    kept = {}
    for name, folders in runs.items():
        loss, true, predicted = (np.concatenate(part) for part in zip(*map(losses, folders)))
        kept[name] = loss
        found[name] = {
            "loss": float(loss.mean()),
            "accuracy": float(np.mean(true == predicted)),
            "macro_f1": macro_f1(true, predicted, int(true.max()) + 1),
            "seconds": [float((folder / SECONDS).read_text()) for folder in folders],
        }
    difference = kept["continued"] - kept["scratch"]
    drawn = np.random.default_rng(0).integers(0, len(difference), (SAMPLES, len(difference)))
    interval = np.percentile(difference[drawn].mean(axis=1), (2.5, 97.5)).tolist()
    seconds = {name: sum(found[name]["seconds"]) for name in runs}
    return found | {
        "pairs": len(difference),
        "difference": float(difference.mean()),
        "interval": interval,
        "time": seconds["continued"] / seconds["scratch"],
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--data", type=FOLDER, required=True, help="A dataset laid out as the task's.")
@click.option("--model", default="light", show_default=True)
@click.option("--folds", default=5, show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE")
@click.option("--work", type=click.Path(path_type=Path), help="Where runs stay.")
@click.option("--json", "output", type=click.Path(path_type=Path))
def main(
    data: Path,
    model: str,
    folds: int,
    assignments: tuple[str, ...],
    work: Path | None,
    output: Path | None,
) -> None:
    usual = Settings(model=model)
    read = TrainingSource(data).read()
    pairs, rows, _ = divide(read, fraction=usual.validation_fraction, seed=usual.split_seed)
    examples = read_examples(pairs, read.labels)
    runs: dict[str, list[Path]] = {"scratch": [], "continued": []}
    images = data / "data"
    own = [word for text in assignments for word in ("--set", text)]
    name = "-".join(["continued", *assignments])
    with tempfile.TemporaryDirectory() as temporary:
        folder = (work or Path(temporary)) / f"{model}-{folds}"
        folder.mkdir(parents=True, exist_ok=True)
        for fold, (inside, outside) in enumerate(
            divide_folds(examples, rows, folds=folds, repeat=1), 1
        ):
            validation = ("validation", [pairs[row] for row in outside])
            some = [pairs[row] for row in inside]
            count = round(FIRST * len(some))
            first = write_list(folder / f"first-{fold}.csv", [("train", some[:count]), validation])
            every = write_list(folder / f"all-{fold}.csv", [("train", some), validation])
            begun = train(folder / f"first-{fold}", first, images, "--model", model)
            # First, so that the time to fill the cache of compact's embeddings counts against it.
            continued = train(folder / f"{name}-{fold}", every, images, "--from", str(begun), *own)
            scratch = train(folder / f"scratch-{fold}", every, images, "--model", model)
            runs["scratch"].append(scratch)
            runs["continued"].append(continued)
            click.echo(f"fold {fold}: {compare({k: v[-1:] for k, v in runs.items()})}")
        found = compare(runs)
    low, high = found["interval"]
    click.echo(
        f"{model}: loss {found['continued']['loss']:.4f} continued, "
        f"{found['scratch']['loss']:.4f} from scratch; difference {found['difference']:+.4f} "
        f"({low:+.4f} to {high:+.4f}); {found['time']:.2f} times the time"
    )
    write_result(output, {"model": model, "folds": folds, "set": [*assignments], **found})


if __name__ == "__main__":
    main()

"""Accuracy of the models: repeated stratified cross-validation, and the validation pairs once.

    python benchmarks/accuracy.py --data DIR [--models compact,light] [--repeats 2] [--json FILE]

The folds lie within the training part: the validation pairs have no part in them. Identical images
never stand on both sides. Every figure is of a training by `train` with its default settings, or
with those that --set changes (--set logit_adjustment=0.5), which is how the defaults were chosen.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmsent.data.dataset import TRAINING, open_dataset, read_labelled
from mmsent.data.labels import SENTIMENTS
from mmsent.options import FOLDER
from mmsent_training.examples import Examples, read_examples, split
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.runs.record import read_record
from mmsent_training.settings import Settings
from mmsent_training.train import train

FOLDS = 5
Parts = tuple[list[int], list[int]]


def folds(examples: Examples, training: list[int], repeat: int) -> list[Parts]:
    """The folds of one repetition, as indices of ``examples``; equal images are on one side."""
    images = [hashlib.sha256(examples.pairs[i].read("image")).digest() for i in training]
    labels = examples.labels[training]
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
    rows = np.array(training)
    return [
        (rows[one].tolist(), rows[other].tolist())
        for one, other in splitter.split(labels, labels, images)
    ]


def measure(data: Path, settings: Settings, parts: Parts | None) -> dict[str, float]:
    """Train once; accuracy, macro F1 and seconds."""
    choice = choose(settings.model, {})
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = train(data, settings, choice, Path(folder) / "run", parts=parts)
        record = read_record(run)
    return {
        "accuracy": record.metrics.accuracy,
        "macro_f1": record.metrics.macro_f1,
        "seconds": time.perf_counter() - started,
        "ece": record.calibration.error_before,
        "temperature": record.calibration.temperature,
    }


def changes(assignments: tuple[str, ...]) -> dict[str, Any]:
    """The settings that --set changes; a value is JSON, else text."""

    def parse(value: str) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            return value

    pairs = (assignment.split("=", 1) for assignment in assignments)
    return {name: parse(value) for name, value in pairs}


@click.command()
@click.option("--data", type=FOLDER, required=True)
@click.option("--models", default="compact,light", show_default=True)
@click.option("--repeats", default=2, show_default=True, help="Cross-validations; 0 for none.")
@click.option("--folds", "wanted", default="01234", show_default=True, help="Only these folds.")
@click.option("--validation/--no-validation", default=True, help="Look at the validation pairs.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE")
@click.option("--json", "output", type=click.Path(path_type=Path))
def main(
    data: Path,
    models: str,
    repeats: int,
    wanted: str,
    validation: bool,
    assignments: tuple[str, ...],
    output: Path | None,
) -> None:
    """Print a table, and write every measurement to --json."""
    rows = []
    for model in models.split(","):
        chosen = changes(assignments)
        settings = default_settings(model, "cpu", **chosen)
        examples = read_examples(read_labelled(open_dataset(data).select(TRAINING)), SENTIMENTS)
        training, _ = split(
            examples.labels,
            SENTIMENTS,
            fraction=settings.validation_fraction,
            seed=settings.split_seed,
        )
        for repeat in range(repeats):
            for fold, parts in enumerate(folds(examples, training, repeat)):
                if str(fold) not in wanted:
                    continue
                seed = settings.seed + repeat
                seeded = default_settings(model, "cpu", **(chosen | {"seed": seed}))
                result = measure(data, seeded, parts)
                rows.append({"model": model, "repeat": repeat, "fold": fold} | result)
                click.echo(json.dumps(rows[-1]), err=True)
        if validation:
            rows.append({"model": model, "fold": None} | measure(data, settings, None))
    click.echo("model     on                      accuracy         macro F1         seconds")
    for model in models.split(","):
        mine = [row for row in rows if row["model"] == model]
        for name, results in (
            ("cross-validation", [row for row in mine if row["fold"] is not None]),
            ("validation pairs", [row for row in mine if row["fold"] is None]),
        ):
            if results:
                columns = [[r[key] for r in results] for key in ("accuracy", "macro_f1")]
                text = "  ".join(f"{np.mean(c):.3f} ± {np.std(c):.3f} " for c in columns)
                seconds = np.mean([r["seconds"] for r in results])
                click.echo(f"{model:8}  {name:16} ({len(results):2})  {text}   {seconds:.0f}")
    if output:
        output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

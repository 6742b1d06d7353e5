"""Measure a model's accuracy: over several seeds, per modality, or by cross-validation.

    python benchmarks/accuracy.py seeds --data DIR [--model light] [--work FOLDER] [--json FILE]
    python benchmarks/accuracy.py modalities --data DIR …
    python benchmarks/accuracy.py folds --data DIR [--repeats 2] …

Every training has the default settings, or those that --set changes (--set logit_adjustment=0.5);
the defaults were chosen this way. Seeds and modalities are scored on the validation pairs. The
folds of cross-validation are within the training part, and identical images are always on the same
side. Runs stay in --work and are not trained again. With OMP_NUM_THREADS=1 the results do not
depend on the number of cores.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource
from mmsent.options import FOLDER
from mmsent_training.evaluation.ablation import mcnemar
from mmsent_training.examples import read_examples, split
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.runs.record import RECORD, read_record
from mmsent_training.runs.run import PREDICTIONS
from mmsent_training.settings import Settings
from mmsent_training.train import train
from result import write_result

FOLDS, SEEDS = 5, (42, 43, 44)
Parts = tuple[list[int], list[int]]
Train = Callable[..., Path]
"""Trains the run of a name with some settings; returns its folder."""


def seeds(train: Train, data: Path, repeats: int) -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        yield score(train(str(seed), seed=seed))


def modalities(train: Train, data: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Text and image alone, and McNemar's p of the difference from both, for the first seed."""
    both = train(str(SEEDS[0]), seed=SEEDS[0])
    yield {"modality": "both"} | score(both)
    for name in ("text", "image"):
        run = train(f"{name}-{SEEDS[0]}", seed=SEEDS[0], modality=name)
        yield {"modality": name, "p": mcnemar(right(both), right(run)).p} | score(run)


def folds(train: Train, data: Path, repeats: int) -> Iterator[dict[str, Any]]:
    for repeat in range(repeats):
        for fold, parts in enumerate(divide(data, repeat)):
            run = train(f"fold-{repeat}-{fold}", parts, seed=SEEDS[0] + repeat)
            yield {"repeat": repeat, "fold": fold} | score(run)


def divide(data: Path, repeat: int) -> list[Parts]:
    """The folds of one repetition, as indices of the labelled pairs; equal images on one side."""
    usual = Settings(model="any")
    examples = read_examples(TrainingSource(data).read().train, SENTIMENTS)
    fraction, seed = usual.validation_fraction, usual.split_seed
    training, _ = split(examples.labels, SENTIMENTS, fraction=fraction, seed=seed)
    images = [hashlib.sha256(examples.pairs[i].read("image")).digest() for i in training]
    labels, rows = examples.labels[training], np.array(training)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
    return [
        (rows[one].tolist(), rows[other].tolist())
        for one, other in splitter.split(labels, labels, images)
    ]


def score(run: Path) -> dict[str, Any]:
    """A run's accuracy and macro F1 with their intervals, and its calibration."""
    record = read_record(run)
    return {
        "seed": record.settings.seed,
        "pairs": record.metrics.pairs,
        "accuracy": record.metrics.accuracy,
        "macro_f1": record.metrics.macro_f1,
        "intervals": asdict(record.metrics.intervals),
        "calibration_error": record.metrics.calibration_error,
    }


def right(run: Path) -> np.ndarray:
    """Whether a run predicts each of its validation pairs correctly: [pairs] of bool."""
    rows = pd.read_csv(run / PREDICTIONS, dtype=str, keep_default_na=False)
    return (rows["tag"] == rows["predicted"]).to_numpy()


def parse(assignments: tuple[str, ...]) -> dict[str, Any]:
    """The settings that --set changes; a value is JSON, otherwise text."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: value(text) for name, _, text in (item.partition("=") for item in assignments)}


WAYS = {way.__name__: way for way in (seeds, modalities, folds)}


@click.command(help=__doc__.splitlines()[0])
@click.argument("way", type=click.Choice(list(WAYS)))
@click.option("--data", type=FOLDER, required=True)
@click.option("--model", default="light", show_default=True)
@click.option("--repeats", default=1, show_default=True, help="Cross-validations.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE")
@click.option("--work", type=click.Path(path_type=Path), help="the folder for runs")
@click.option("--json", "output", type=click.Path(path_type=Path))
def main(
    way: str,
    data: Path,
    model: str,
    repeats: int,
    assignments: tuple[str, ...],
    work: Path | None,
    output: Path | None,
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)

        def train_once(name: str, parts: Parts | None = None, **own: Any) -> Path:
            settings = default_settings(model, "cpu", **(parse(assignments) | own))
            run = folder / f"{model}-{name}"
            if not (run / RECORD).exists():
                shutil.rmtree(run, ignore_errors=True)  # of an interrupted training
                train(data, settings, choose(model, {}), run, parts=parts)
            elif read_record(run).settings != settings:
                raise click.ClickException(f"{run} was trained with other settings")
            return run

        rows = []
        for row in WAYS[way](train_once, data, repeats):
            rows.append(row)
            click.echo(json.dumps(row))
    for key in ("accuracy", "macro_f1"):
        values = [row[key] for row in rows]
        click.echo(f"{model}, {way}, {key}: {np.mean(values):.3f} ± {np.std(values):.3f}")
    write_result(output, {"model": model, way: rows})


if __name__ == "__main__":
    main()

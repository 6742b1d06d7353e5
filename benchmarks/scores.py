"""How accurate a model is: over several seeds, on each modality alone, or by cross-validation.

    python benchmarks/scores.py seeds --data DIR [--model light] [--work FOLDER] [--json FILE]
    python benchmarks/scores.py modalities --data DIR …
    python benchmarks/scores.py folds --data DIR …

It runs `mmsent train`, `mmsent ablate` or `mmsent cross-validate` with the default settings. Seeds
and modalities are scored on the validation pairs, folds within the others. Results stay in --work,
and what is there is not trained again. With OMP_NUM_THREADS=1 they don't depend on the cores.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from mmsent.options import FOLDER
from result import write_result

SEEDS = (42, 43, 44)
Rows = Iterator[dict[str, Any]]
Options = tuple[object, ...]


def mmsent(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "mmsent", *map(str, words)], check=True)


def read(path: Path, *words: object) -> dict[str, Any]:
    """Read a command's JSON file; run the command if the file does not exist."""
    if not path.exists():
        shutil.rmtree(path.parent, ignore_errors=True)  # left by an interrupted one
        mmsent(*words, "--output", path.parent)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def seeds(folder: Path, options: Options) -> Rows:
    for seed in SEEDS:
        path = folder / f"seed-{seed}" / "run.json"
        yield {"seed": seed} | score(read(path, "train", "--seed", seed, *options)["metrics"])


def modalities(folder: Path, options: Options) -> Rows:
    """Only text and only image, with McNemar's p of the difference from both."""
    found = read(folder / "ablation" / "ablation.json", "ablate", *options)
    for name, scores in found["results"].items():
        row = {"modality": name} | score(scores)
        if test := found["tests"].get(f"both and {name}"):
            row["p"] = test["p"]
        yield row


def folds(folder: Path, options: Options) -> Rows:
    path = folder / "folds" / "cross_validation.json"
    if path.exists():  # it may lack some
        mmsent("cross-validate", "--resume", path.parent)
    yield from read(path, "cross-validate", *options)["results"]


def score(scores: dict[str, Any]) -> dict[str, Any]:
    names = ("pairs", "accuracy", "macro_f1", "intervals", "calibration_error")
    return {name: scores[name] for name in names}


WAYS: dict[str, Callable[[Path, Options], Rows]] = {
    way.__name__: way for way in (seeds, modalities, folds)
}


@click.command(help=__doc__.splitlines()[0])
@click.argument("way", type=click.Choice(list(WAYS)))
@click.option("--data", type=FOLDER, required=True)
@click.option("--model", default="light", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Where results stay.")
@click.option("--json", "output", type=click.Path(path_type=Path))
def main(way: str, data: Path, model: str, work: Path | None, output: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (work or Path(temporary)) / model
        rows = list(WAYS[way](folder, ("--data", data, "--model", model)))
    for key in ("accuracy", "macro_f1"):
        values = [row[key] for row in rows]
        click.echo(f"{model}, {way}, {key}: {np.mean(values):.3f} ± {np.std(values):.3f}")
    write_result(output, {"model": model, way: rows})


if __name__ == "__main__":
    main()

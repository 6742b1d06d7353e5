"""What each modality is worth: the same model trained on both, on text and on images alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mmsent.data.dataset import LABELS
from mmsent.files.atomic import atomic_path
from mmsent_training.evaluation.metrics import describe
from mmsent_training.evaluation.significance import intervals, mcnemar
from mmsent_training.runs.report import BLUE, ORANGE, save
from mmsent_training.runs.run import new_folder, read_run
from mmsent_training.settings import Settings

MODALITIES = ("both", "text", "image")


def ablate(
    settings: Settings, output: Path | None, train: Callable[[Settings, Path], Path]
) -> Path:
    """Train ``settings``' model three times, and compare; returns the comparison's folder.

    ``train`` trains with settings into a folder. The folder holds a run for each modality,
    ablation.json, ablation.md and ablation.png. Raises what ``train`` raises.
    """
    folder = new_folder(f"{settings.model}-ablation", output)
    runs = {name: train(replace(settings, modality=name), folder / name) for name in MODALITIES}
    results = {}
    predicted: dict[str, npt.NDArray[np.int64]] = {}
    for name, run in runs.items():
        labels, predicted[name] = _predictions(run)
        results[name] = read_run(run).record["metrics"] | {
            "intervals": intervals(labels, predicted[name])
        }
    comparison = {
        "model": settings.model,
        "seed": settings.seed,
        "results": results,
        "tests": [
            {"one": one, "other": other} | mcnemar(labels, predicted[one], predicted[other])
            for one, other in combinations(MODALITIES, 2)
        ],
    }
    _draw(folder / "ablation.png", results)
    with atomic_path(folder / "ablation.md") as part:
        part.write_text(_report(comparison), encoding="utf-8")
    with atomic_path(folder / "ablation.json") as part:
        part.write_text(json.dumps(comparison, indent=2) + "\n", encoding="utf-8")
    return folder


def _predictions(run: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Labels and predicted labels of a run's validation pairs."""
    with open(run / "validation_predictions.csv", encoding="utf-8", newline="") as file:
        rows = [
            (LABELS.index(row["tag"]), LABELS.index(row["predicted"]))
            for row in csv.DictReader(file)
        ]
    labels, predicted = np.array(rows, np.int64).T
    return labels, predicted


def table(comparison: dict[str, Any]) -> str:
    """The comparison as a table of text."""
    lines = ["sees       accuracy                macro F1"]
    for name, result in comparison["results"].items():
        columns = [
            f"{result[key]:.3f} ({result['intervals'][key][0]:.3f} to "
            f"{result['intervals'][key][1]:.3f})"
            for key in ("accuracy", "macro_f1")
        ]
        lines.append(f"{name:<9}  {'  '.join(columns)}")
    for test in comparison["tests"]:
        verdict = "significant" if test["p"] < 0.05 else "not significant"
        lines.append(
            f"{test['one']} and {test['other']}: {test['only_one']} pairs only the first got "
            f"right, {test['only_other']} only the second; p = {test['p']:.3g}, {verdict} at 5 %"
        )
    return "\n".join(lines)


def _report(comparison: dict[str, Any]) -> str:
    parts = [
        f"""# {comparison["model"]} model: both modalities, text alone, images alone

The same settings and seed, {comparison["seed"]}, on the same pairs. In brackets: 95 % bootstrap
intervals. p: McNemar's exact test of the differences in accuracy.

```
{table(comparison)}
```

![accuracy and macro F1](ablation.png)
"""
    ]
    for name, result in comparison["results"].items():
        parts.append(f"## {name}\n\n```\n{describe(result)}\n```\n\n[the run]({name}/report.md)\n")
    return "\n".join(parts)


def _draw(path: Path, results: dict[str, Any]) -> None:
    """Draw both scores of each modality, with their intervals."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for offset, key, colour, label in (
        (-0.2, "accuracy", BLUE, "accuracy"),
        (0.2, "macro_f1", ORANGE, "macro F1"),
    ):
        values = np.array([result[key] for result in results.values()])
        ends = np.array([result["intervals"][key] for result in results.values()])
        errors = np.abs(ends - values[:, None]).T
        places = np.arange(len(results)) + offset
        axes.bar(places, values, 0.36, yerr=errors, capsize=3, color=colour, label=label)
    axes.set_xticks(range(len(results)), list(results))
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    save(figure, path)

"""Ablation: the same model trained on both modalities, only on text, and only on images."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from mmsent.files.atomic import atomic_path
from mmsent.files.progress import counted
from mmsent_training.evaluation.metrics import Scores, describe
from mmsent_training.evaluation.significance import McNemar, mcnemar
from mmsent_training.pictures import draw_ablation
from mmsent_training.runs.latest import point_latest
from mmsent_training.runs.record import read_record
from mmsent_training.runs.run import PREDICTIONS, new_folder
from mmsent_training.settings import Modality, Settings
from mmsent_training.style import save

MODALITIES: tuple[Modality, ...] = ("both", "text", "image")


@dataclass(frozen=True)
class Ablation:
    """The content of ablation.json: each modality's scores, and McNemar's test of every two."""

    model: str
    seed: int
    results: dict[Modality, Scores]
    tests: dict[str, McNemar]


def ablate(
    settings: Settings, output: Path | None, train: Callable[[Settings, Path], Path]
) -> tuple[Path, Ablation]:
    """Train the model of ``settings`` three times and compare; also returns the folder.

    ``train`` trains with settings into a folder. The folder gets a run for each modality,
    ablation.json, ablation.md and ablation.png. Raises what ``train`` raises.
    """
    folder = new_folder(f"{settings.model}-ablation", output)
    runs = {name: train(replace(settings, modality=name), folder / name) for name in MODALITIES}
    tables = {  # a label may be "None" or "NA"
        name: pd.read_csv(run / PREDICTIONS, dtype=str, keep_default_na=False)
        for name, run in runs.items()
    }
    right = {name: (rows["tag"] == rows["predicted"]).to_numpy() for name, rows in tables.items()}
    ablation = Ablation(
        settings.model,
        settings.seed,
        {name: read_record(run).metrics for name, run in runs.items()},
        {
            f"{one} and {other}": mcnemar(right[one], right[other])
            for one, other in combinations(MODALITIES, 2)
        },
    )
    save(draw_ablation(ablation.results), folder / "ablation.png")
    with atomic_path(folder / "ablation.md") as part:
        part.write_text(_report(ablation), encoding="utf-8")
    with atomic_path(folder / "ablation.json") as part:
        part.write_text(json.dumps(asdict(ablation), indent=2) + "\n", encoding="utf-8")
    if output is None:
        point_latest(folder / "both")  # the whole model
    return folder, ablation


def table(ablation: Ablation) -> str:
    """The comparison as a table of text."""
    lines = ["trained on  accuracy                macro F1"]
    for name, scores in ablation.results.items():
        columns = [
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, (low, high) in (
                (scores.accuracy, scores.intervals.accuracy),
                (scores.macro_f1, scores.intervals.macro_f1),
            )
        ]
        lines.append(f"{name:<10}  {'  '.join(columns)}")
    for names, test in ablation.tests.items():
        lines.append(
            f"{names}: {counted(test.only_one, 'pairs')} only the first predicts correctly, "
            f"{test.only_other} only the second; {test.verdict}"
        )
    return "\n".join(lines)


def _report(ablation: Ablation) -> str:
    runs = "\n".join(
        f"## {name}\n\n```\n{describe(scores)}\n```\n\n[the run]({name}/report.md)\n"
        for name, scores in ablation.results.items()
    )
    return f"""# {ablation.model} model: both modalities, text alone, images alone

The same settings, pairs and seed, {ablation.seed}. In brackets: 95 % bootstrap intervals. p:
McNemar's exact test of the differences in accuracy.

```
{table(ablation)}
```

![accuracy and macro F1](ablation.png)

{runs}"""

"""How good a bundle is on a labelled dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmsent.data.dataset import LABELS, training_list
from mmsent.errors import InputError, Problem, refuse
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.predict.infer import predict_rows
from mmsent.predict.model import Prediction, SentimentModel
from mmsent_training.data import read_rows, split
from mmsent_training.evaluation.calibration import calibration_error, reliability
from mmsent_training.evaluation.metrics import score
from mmsent_training.evaluation.significance import intervals


def evaluate_bundle(model_path: Path, data: Path, part: str) -> dict[str, Any]:
    """Score a bundle on a part of the labelled list, split as its training did.

    Gives what `score` gives, with ``intervals`` and, of the probabilities, ``calibration_error``
    and ``reliability``.

    Raises InputError for bad data, and where the bundle's labels are not the list's.
    """
    path, folder = training_list(data)
    rows = read_rows(data)
    model = SentimentModel(model_path, threads=1)
    if set(model.labels) != set(LABELS):
        raise InputError(f"{model_path} predicts {model.labels}; {path.name} has {LABELS}")
    if part != "all":
        try:
            settings = model.info.provenance["settings"]
            share, seed = float(settings["validation_share"]), int(settings["split_seed"])
        except (LookupError, TypeError, ValueError):
            raise InputError(
                f"{model_path} does not tell how its training divided the pairs; use --split all"
            ) from None
        train, validation = split(
            [LABELS.index(str(row.label)) for row in rows], share=share, seed=seed
        )
        rows = [rows[index] for index in (train if part == "train" else validation)]
    problems: list[Problem] = []
    rows_of_probabilities = []
    with Progress("evaluating", len(rows), "pairs") as progress:
        for _, outcome in predict_rows(model, rows, folder, path.name, workers=available_cores()):
            if isinstance(outcome, Prediction):
                rows_of_probabilities.append([outcome.probabilities[label] for label in LABELS])
            elif outcome is not None:
                problems.append(outcome)
            progress.update()
        refuse(problems, "nothing was evaluated")
    labels = np.array([LABELS.index(str(row.label)) for row in rows])
    probabilities = np.array(rows_of_probabilities, np.float32)
    predicted = probabilities.argmax(axis=1)
    return score(labels, predicted) | {
        "intervals": intervals(labels, predicted),
        "calibration_error": calibration_error(probabilities, labels),
        "reliability": reliability(probabilities, labels),
    }

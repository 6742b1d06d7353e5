"""How good a bundle is on a labelled dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mmsent.data.dataset import TRAINING, open_dataset, read_labelled
from mmsent.data.pair import PARTS
from mmsent.data.pair import Part as Modality
from mmsent.errors import InputError, Problem, refuse
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.predict.model import Prediction, SentimentModel
from mmsent.predict.stream import predict_stream
from mmsent_training.evaluation.metrics import Scores, score
from mmsent_training.examples import index_labels, split

Part = Literal["validation", "train", "all"]


def evaluate_bundle(model_path: Path, data: Path, part: Part) -> Scores:
    """Score a bundle on a part of a labelled dataset, split as its training did.

    Raises InputError for bad data, and where the bundle's labels are not the dataset's.
    """
    model = SentimentModel(model_path, threads=1)
    pairs = read_labelled(
        open_dataset(data).select(TRAINING),
        model.labels,
        parts=_parts(model),
        optional=model.info.optional,
    )
    labels = index_labels(pairs, model.labels)
    if part != "all":
        fraction, seed = _division(model, model_path)
        train, validation = split(labels, model.labels, fraction=fraction, seed=seed)
        chosen = train if part == "train" else validation
        pairs, labels = [pairs[index] for index in chosen], labels[chosen]
    problems: list[Problem] = []
    rows: list[list[float]] = []
    with Progress("evaluating", len(pairs), "pairs") as progress:
        for _, outcome in predict_stream(model, pairs, workers=available_cores()):
            if isinstance(outcome, Prediction):
                rows.append([outcome.probabilities[label] for label in model.labels])
            elif outcome is not None:
                problems.append(outcome)
            progress.update()
        refuse(problems, "nothing was evaluated")
    return score(labels, np.array(rows, np.float32), model.labels)


def _parts(model: SentimentModel) -> Sequence[Modality]:
    """What the model sees of a pair, as the bundle says of its training; both, if it does not."""
    settings = model.info.provenance.get("settings")
    modality = settings.get("modality") if isinstance(settings, dict) else None
    return [part for part in PARTS if modality == part] or PARTS


def _division(model: SentimentModel, path: Path) -> tuple[float, int]:
    """How the bundle's training divided its pairs: fraction and seed, as `split` takes them."""
    try:
        settings = model.info.provenance["settings"]
        return float(settings["validation_fraction"]), int(settings["split_seed"])
    except (LookupError, TypeError, ValueError):
        lacking = "does not say how its training divided the pairs; use --split all"
        raise InputError(f"{path} {lacking}") from None

"""Cross-validation: train and score every fold."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmsent.data.training import TrainingData, TrainingSource
from mmsent.files.interrupt import Stoppable, stop_on_signals
from mmsent.files.lock import locked
from mmsent_training.cross_validation.folds import divide_folds
from mmsent_training.cross_validation.record import (
    CrossValidation,
    Fold,
    read_predictions,
    write,
    write_predictions,
)
from mmsent_training.devices import libraries, reproducible, thread_count
from mmsent_training.evaluation.calibration import (
    Floats,
    calibrate,
    calibration_error,
    softmax,
)
from mmsent_training.evaluation.metrics import macro_f1
from mmsent_training.evaluation.predictions import predictions_table
from mmsent_training.examples import Labels, divide, read_examples
from mmsent_training.loop import Callback, Result, fit
from mmsent_training.models.registry import Choice
from mmsent_training.runs.resume import Start, check_same_start
from mmsent_training.settings import Settings
from mmsent_training.train import Parts, prepare

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A cross-validation that is ready to start or to continue.

    ``parts``: of each repetition, those of each fold.
    """

    validation: CrossValidation
    data: TrainingData
    parts: Sequence[Sequence[Parts]]
    choice: Choice


def make_plan(
    source: TrainingSource,
    settings: Settings,
    choice: Choice,
    *,
    folds: int,
    repeats: int,
    data: TrainingData | None = None,
) -> Plan:
    """Divide the pairs that `train` would train on, without those that it would validate on.

    ``data``: the data of ``source``, if it is already read.
    Raises InputError for bad data, and for labels with too few pairs.
    """
    source = source.resolve()
    fraction, seed = settings.validation_fraction, settings.split_seed
    data = (data or source.read(settings.parts, fraction=fraction)).only(settings.parts)
    pairs, rows, unseen = divide(data, fraction=fraction, seed=seed)
    examples = read_examples(pairs, data.labels)
    start = Start(
        settings=settings,
        chosen=choice.reason,
        data=source,
        fingerprint=examples.fingerprint(),
        validation_fingerprint=examples.fingerprint(unseen),
        sources=choice.sources,
        weights=choice.weights.sha256 if choice.weights else None,
        libraries=libraries(),
        threads=thread_count(),
        latest=False,
    )
    numbers = range(1, repeats + 1)
    parts = [divide_folds(examples, rows, folds=folds, repeat=number) for number in numbers]
    times = f", {repeats} times" if repeats > 1 else ""
    logger.info(
        f"{len(rows)} pairs in {folds} folds{times}; {len(unseen)} pairs to validate on stay unseen"
    )
    return Plan(CrossValidation(start, data.labels, folds, repeats), data, parts, choice)


def resume_plan(folder: Path, before: CrossValidation, now: Plan) -> Plan:
    """``now`` with the finished folds of ``before``, which are in ``folder``.

    Raises InputError if training them now would not give the same scores, or predictions of those
    folds are missing.
    """
    read_predictions(folder, before.results)  # before the work, not after it
    check_same_start(folder, before.start, now.validation.start)
    start = replace(before.start, data=now.validation.start.data)
    return replace(now, validation=replace(before, start=start))


def cross_validate(
    folder: Path, plan: Plan, callback: Callback = lambda event: None
) -> CrossValidation:
    """Train the missing folds of ``plan``, and write the results of each into ``folder``.

    ``callback`` is called with the `loop.Event`s of every training. Raises Interrupted after a
    signal, and InputError if another process has begun the same.
    """
    validation, missing = plan.validation, plan.validation.missing
    busy = f"another process is already cross-validating in {folder}"
    resuming = f"`mmsent cross-validate --resume {folder}` continues with the unfinished fold"
    with locked(folder / ".lock", busy), stop_on_signals(resuming) as stoppable:
        write(folder, validation)
        began = time.perf_counter()
        for number, (repeat, fold) in enumerate(missing, 1):
            name = f"repetition {repeat} of {validation.repeats}, fold {fold} of {validation.folds}"
            logger.info(name)
            found, predictions = train_fold(plan, repeat, fold, stoppable, callback)
            write_predictions(folder, validation.results, predictions)
            validation = replace(validation, results=(*validation.results, found))
            write(folder, validation)
            left = (time.perf_counter() - began) / number * (len(missing) - number)
            logger.info(
                f"{name}: accuracy {found.accuracy:.3f}, macro F1 {found.macro_f1:.3f}, "
                f"loss {found.loss:.3f}" + (f"; {left / 60:.0f} min left" if left > 90 else "")
            )
    return validation


def train_fold(
    plan: Plan, repeat: int, fold: int, stoppable: Stoppable, callback: Callback
) -> tuple[Fold, pd.DataFrame]:
    """Train on one fold; returns its scores, and its predictions for the pairs left out."""
    start, began = plan.validation.start, time.perf_counter()
    # Repetitions also differ in their seed.
    settings = replace(start.settings, seed=start.settings.seed + repeat - 1)
    parts, result = plan.parts[repeat - 1][fold - 1], Result()
    with reproducible(settings.seed, start.threads, settings.device):
        job = prepare(start.data, settings, plan.choice.weights, parts, plan.data)
        fit(job.trainer, result, stoppable=stoppable, save=lambda state: None, callback=callback)
    assert result.kept is not None, "at least one epoch was trained"
    examples, rows, labels = job.task.examples, [*job.task.validation], plan.validation.labels
    true, logits = examples.labels[rows], result.kept.logits.numpy().astype(np.float32)
    temperature = calibrate(logits, true).temperature
    probabilities = softmax(logits / temperature)
    predicted = probabilities.argmax(axis=1)
    scores = Fold(
        repeat=repeat,
        fold=fold,
        seed=settings.seed,
        train_pairs=len(job.task.train),
        pairs=len(rows),
        accuracy=float(np.mean(predicted == true)),
        macro_f1=macro_f1(true, predicted, len(labels)),
        loss=log_loss(probabilities, true),
        temperature=temperature,
        calibration_error=calibration_error(probabilities, true),
        kept_epoch=result.kept.epoch,
        seconds=round(time.perf_counter() - began, 1),
    )
    guids = [examples.pairs[row].guid for row in rows]
    first = {"repeat": repeat, "fold": fold}
    return scores, predictions_table(guids, true, probabilities, labels, first)


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """The mean negative log-likelihood of the true ``labels``, int64 [pairs], in nats."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())

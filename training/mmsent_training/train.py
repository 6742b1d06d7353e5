"""A training: prepare → fit → finish."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from msgspec import convert
from torch import nn

from mmsent.data.dataset import open_dataset
from mmsent.data.pair import Part
from mmsent.data.training import read_training_data, training_parts
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.lock import locked
from mmsent.inputs.text import tokenize
from mmsent_training.devices import environment, libraries, reproducible, thread_count
from mmsent_training.distributed import broadcast, check_same, rank, world_size
from mmsent_training.evaluation.calibration import calibrate, softmax
from mmsent_training.evaluation.metrics import score
from mmsent_training.examples import read_examples, split
from mmsent_training.loop import Callback, Event, Result, Trainer, fit
from mmsent_training.models.recipe import Inputs, Prepared, Task, Weights
from mmsent_training.models.registry import Choice, find_model
from mmsent_training.pictures import write_curves, write_mistakes, write_scores
from mmsent_training.runs import resume as unfinished
from mmsent_training.runs import run as runs
from mmsent_training.runs.record import DatasetRecord, Record, WeightsRecord, write_record
from mmsent_training.runs.report import find_mistakes, with_image, write_report
from mmsent_training.settings import Settings

logger = logging.getLogger(__name__)

Parts = tuple[Sequence[int], Sequence[int]]
"""The rows to train on, and those to validate on."""


@dataclass(frozen=True)
class Job:
    """A training that is ready to begin.

    ``list_name``: the list that the examples stand in; ``fingerprint``: of all of them.
    """

    data: Path
    list_name: str
    fingerprint: str
    task: Task
    inputs: Inputs
    description: dict[str, Any]
    model: nn.Module
    prepared: Prepared
    trainer: Trainer


def train(
    data: Path,
    settings: Settings,
    choice: Choice,
    output: Path | None = None,
    *,
    resume: Path | None = None,
    parts: Parts | None = None,
    callback: Callback = lambda event: None,
) -> Path:
    """Train on a labelled dataset and write a run; returns its folder.

    ``choice`` holds the pretrained weights of the settings' model. The same settings, seed and
    dataset give the same run on the same machine, also where it was interrupted: ``resume`` is an
    unfinished run to go on with.
    ``parts``: instead of `split`'s, for cross-validation. ``callback`` is called with each
    `loop.Event` in this process; what it raises ends the training as a crash would.
    Afterwards PyTorch's threads, random numbers and settings are as they were.
    Raises InputError for bad data, before anything is written, and Interrupted after a signal.
    """
    began, main = time.perf_counter(), rank() == 0
    if output is not None and main:
        runs.check_run_folder(output)  # before the work, not after it
    threads = unfinished.read_start(resume).threads if resume else thread_count()
    with reproducible(settings.seed, threads, settings.device):
        job = prepare(data, settings, choice.weights, parts)
        folder = broadcast((resume or runs.new_folder(settings.model, output)) if main else Path())
        busy = f"{folder} is being trained already, by another process"
        lock = locked(folder / ".lock", busy) if main else nullcontext()
        with lock, unfinished.resumable(folder) as stoppable:
            start = unfinished.Start(
                settings=settings,
                chosen=choice.reason,
                data=str(job.data),
                fingerprint=job.fingerprint,
                sources=choice.sources,
                weights=choice.weights.sha256 if choice.weights else None,
                libraries=libraries(),
                threads=threads,
                latest=output is None,
            )
            start, result = _begin(folder, start, job, resuming=resume is not None)
            _announce(folder, job, len(result.history))
            fit(
                job.trainer,
                result,
                stoppable=stoppable,
                save=lambda state: unfinished.write_state(folder, state) if main else None,
                callback=callback,
            )
            callback(Event("trained", len(result.history)))
            if main:
                finish(folder, job, start, result, began)
                callback(Event("written", len(result.history)))
                unfinished.remove_state(folder)
    return folder


def prepare(data: Path, settings: Settings, weights: Weights | None, parts: Parts | None) -> Job:
    """Read the pairs, divide them, create the model, and let its recipe say what is trained."""
    steps = settings.gradient_accumulation_steps
    if steps < world_size():
        raise InputError(
            f"{world_size()} processes can't share a step of {steps} batches; start {steps}, or "
            f"train with --gradient-accumulation-steps {world_size()} --batch-size "
            f"{max(1, settings.batch_size * steps // world_size())}"
        )
    dataset, recipe = open_dataset(data), find_model(settings.model).recipe
    fraction = settings.validation_fraction
    found = read_training_data(dataset, parts=settings.parts, fraction=fraction)
    examples, labels = read_examples(found.train, found.labels), found.labels
    seed = settings.split_seed
    train, validation = parts or split(examples.labels, labels, fraction=fraction, seed=seed)
    task = Task(settings, weights, examples, train, validation)
    inputs = recipe.read_inputs(task)
    fingerprint = examples.fingerprint()
    check_same(
        settings=settings,
        dataset=fingerprint,
        weights=weights and weights.sha256,
        libraries=libraries(),
        tokenizer=inputs.tokenizer.to_str(),
    )
    ids = tokenize(inputs.tokenizer, examples.texts)
    arguments, model = recipe.create(task, inputs, ids)
    model.to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    prepared = recipe.prepare(model, task, inputs, ids)
    trainer = Trainer(prepared, task, torch.tensor([len(ids[index]) for index in train]))
    description = {"name": settings.model} | arguments
    return Job(
        data.resolve(),
        training_parts(dataset, None)[0].name,
        fingerprint,
        task,
        inputs,
        description,
        model,
        prepared,
        trainer,
    )


def _begin(
    folder: Path, start: unfinished.Start, job: Job, *, resuming: bool
) -> tuple[unfinished.Start, Result]:
    """Make ``folder`` an unfinished run, or go on from what it has; how it was started."""
    main, result = rank() == 0, Result()
    if resuming:
        start = broadcast(unfinished.check_start(folder, start) if main else start)
        if state := broadcast(unfinished.read_state(folder) if main else None):
            result.load_state_dict(state.pop("result"))
            job.trainer.load_state_dict(state)
    elif main:
        runs.write_tokenizer(folder, job.inputs.tokenizer)
        unfinished.write_start(folder, start)
    return start, result


def _announce(folder: Path, job: Job, done: int) -> None:
    settings, whole = job.task.settings, job.prepared.module is job.model
    logger.info(
        f"training {'' if whole else 'the head of '}the {settings.model} model on "
        f"{len(job.task.train)} pairs, validating on {len(job.task.validation)}; "
        f"{settings.device}, {settings.precision}"
        + (f", {world_size()} processes" if world_size() > 1 else "")
        + (f"; going on after epoch {done}" if done else "")
    )
    logger.info(f"in {folder}; if it is interrupted: mmsent train --resume {folder}")


def finish(folder: Path, job: Job, start: unfinished.Start, result: Result, began: float) -> None:
    """Write the run. run.json comes last, since it says that the others are there."""
    task, kept, examples = job.task, result.kept, job.task.examples
    assert kept is not None, "at least one epoch was trained"
    names, true_labels = examples.label_names, examples.labels[[*task.validation]]
    # Probabilities that mean what they say: the one number that the validation pairs decide.
    logits = kept.logits.numpy().astype(np.float32)
    calibration = calibrate(logits, true_labels)
    probabilities = softmax(logits / calibration.temperature)
    job.prepared.module.load_state_dict(kept.weights)
    runs.write_checkpoint(folder, job.model)
    record = Record(
        created=time.strftime("%Y-%m-%d %H:%M:%S%z"),
        model=job.description,
        labels=names,
        optional=_optional(job),
        image=job.inputs.image,
        weights=convert(task.weights, WeightsRecord | None, from_attributes=True),
        chosen=start.chosen,
        settings=start.settings,
        dataset=DatasetRecord(
            path=str(job.data),
            list=job.list_name,
            fingerprint=start.fingerprint,
            validation_fingerprint=examples.fingerprint(task.validation),
            train_pairs=len(task.train),
            validation_pairs=len(task.validation),
        ),
        metrics=score(true_labels, probabilities, names),
        calibration=calibration,
        kept_epoch=kept.epoch,
        epochs=len(result.history),
        seconds=round(time.perf_counter() - began, 1),
        environment=environment(task.settings.device),
    )
    _write_table(folder / "history.csv", pd.DataFrame(map(asdict, result.history)))
    predictions = {
        "guid": [examples.pairs[index].guid for index in task.validation],
        "tag": [names[label] for label in true_labels],
        "predicted": [names[label] for label in probabilities.argmax(axis=1)],
        **dict(zip(names, probabilities.T)),
    }
    _write_table(folder / runs.PREDICTIONS, pd.DataFrame(predictions))
    write_curves(folder / "curves.png", result.history, kept.epoch)
    write_scores(folder, record.metrics)
    mistakes = find_mistakes(examples, task.validation, probabilities)
    if images := with_image(mistakes):
        write_mistakes(folder / "mistakes.png", images, job.inputs.image)
    write_report(folder / "report.md", record, mistakes)
    write_record(folder, record)
    if start.latest:
        runs.point_latest(folder)


def _optional(job: Job) -> tuple[Part, ...]:
    """What a pair may lack: see BundleInfo."""
    settings = job.task.settings
    if settings.modality != "both":
        return ("image",) if settings.modality == "text" else ("text",)
    return ("text", "image") if settings.modality_dropout > 0 else job.prepared.optional


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as part:
        table.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")

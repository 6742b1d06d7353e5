"""Training: prepare → fit → finish."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from msgspec import convert
from torch import nn

from mmsent.data.dataset import AS_IT_IS, Reading
from mmsent.data.pair import Part
from mmsent.data.training import TrainingData, TrainingSource
from mmsent.errors import InputError
from mmsent.files.interrupt import Stoppable
from mmsent.files.lock import locked
from mmsent.inputs.coverage import Coverage, warn_of_unknown
from mmsent.inputs.text import tokenize
from mmsent_training.devices import environment, libraries, reproducible, thread_count
from mmsent_training.digests import make_digests
from mmsent_training.distributed import broadcast, check_same, rank, world_size
from mmsent_training.evaluation.calibration import calibrate, softmax
from mmsent_training.evaluation.metrics import score
from mmsent_training.evaluation.predictions import write_csv, write_predictions
from mmsent_training.examples import divide, read_examples
from mmsent_training.loop import Callback, Event, Result, Trainer, fit
from mmsent_training.models.recipe import Inputs, Prepared, Task, Weights
from mmsent_training.models.registry import Choice, find_model
from mmsent_training.pictures import draw_curves, draw_mistakes, write_scores
from mmsent_training.runs import resume as unfinished
from mmsent_training.runs import run as runs
from mmsent_training.runs.latest import point_latest
from mmsent_training.runs.record import DatasetRecord, Record, WeightsRecord, write_record
from mmsent_training.runs.report import describe_data, find_mistakes, have_images, write_report
from mmsent_training.settings import Settings
from mmsent_training.style import save

logger = logging.getLogger(__name__)

HISTORY = "history.csv"

Parts = tuple[Sequence[int], Sequence[int]]
"""The training rows and the validation rows."""


@dataclass(frozen=True)
class Job:
    """A training run that is ready to start.

    ``list_name``: the list of the training examples. ``fingerprint``: of all examples;
    ``validation_fingerprint``: of the validation examples.
    """

    data: TrainingSource
    list_name: str
    fingerprint: str
    validation_fingerprint: str
    task: Task
    inputs: Inputs
    coverage: Coverage
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
    validation: Path | None = None,
    labels: Sequence[str] | None = None,
    reading: Reading = AS_IT_IS,
    found: TrainingData | None = None,
    callback: Callback = lambda event: None,
) -> Path:
    """Train on a labelled dataset and write a run; returns its folder.

    ``choice``: the model of the settings, with its pretrained weights. The same settings, seed and
    dataset give the same run on the same machine, even after an interruption: see `resume`.
    ``validation``: a dataset with the validation pairs. By default they are the validation split of
    ``data`` or, if it has none, a stratified share of its pairs.
    ``labels``: the set of labels and their order, by default those of the training pairs.
    ``reading``: how to read the datasets, where their layout leaves that open. ``found``: the
    result of `TrainingSource.read`, if the pairs were read before; the model may see fewer parts.
    ``callback`` is called with each `loop.Event` in this process; an exception from it ends the
    training like a crash.
    Afterwards PyTorch's threads, random numbers and settings are restored.
    Raises InputError for bad data, before anything is written, and Interrupted after a signal.
    """
    began, main = time.perf_counter(), rank() == 0
    if output is not None and main:
        runs.check_run_folder(output)  # before the work, not after it
    source = TrainingSource(data, validation, tuple(labels) if labels else None, reading)
    threads = thread_count()
    with reproducible(settings.seed, threads, settings.device):
        job = prepare(source.resolve(), settings, choice.weights, found=found)
        start = _describe_start(job, choice, threads, latest=output is None)
        folder = broadcast(runs.new_folder(settings.model, output) if main else Path())
        with _held(folder) as stoppable:
            if main:
                unfinished.write_start(folder, start)
            _carry_out(folder, job, start, Result(), began, stoppable, callback)
    return folder


def resume(
    folder: Path,
    start: unfinished.Start,
    choice: Choice,
    *,
    data: TrainingSource | None = None,
    callback: Callback = lambda event: None,
) -> Path:
    """Resume the unfinished run ``folder`` after its last finished epoch; returns ``folder``.

    ``start``: how it was started, by `read_start`; ``choice``: the model with the same weights.
    ``data``: where the pairs are now, by default where they were.
    Raises InputError if the run would not end as it would have without the interruption.
    """
    began, main, settings = time.perf_counter(), rank() == 0, start.settings
    with reproducible(settings.seed, start.threads, settings.device):
        job = prepare((data or start.data).resolve(), settings, choice.weights)
        with _held(folder) as stoppable:
            if main:
                now = _describe_start(job, choice, start.threads, latest=start.latest)
                unfinished.check_start(folder, start, now)
            result = Result()
            state = broadcast(unfinished.read_state(folder) if main else None)
            if state is not None:
                with unfinished.restoring(folder):
                    result.load_state_dict(state["result"])
                    began -= state["seconds"]  # before the interruption
                    job.trainer.load_state_dict(state)
            _carry_out(folder, job, start, result, began, stoppable, callback)
    return folder


@contextmanager
def _held(folder: Path) -> Iterator[Stoppable]:
    """Lock the run in ``folder`` while the block trains it, and let signals end it in order."""
    busy = f"another process is already training {folder}"
    lock = locked(folder / ".lock", busy) if rank() == 0 else nullcontext()
    with lock, unfinished.resumable(folder) as stoppable:
        yield stoppable


def _describe_start(job: Job, choice: Choice, threads: int, *, latest: bool) -> unfinished.Start:
    return unfinished.Start(
        settings=job.task.settings,
        chosen=choice.reason,
        data=job.data,
        fingerprint=job.fingerprint,
        validation_fingerprint=job.validation_fingerprint,
        sources=choice.sources,
        weights=choice.weights.sha256 if choice.weights else None,
        libraries=libraries(),
        threads=threads,
        latest=latest,
    )


def _carry_out(
    folder: Path,
    job: Job,
    start: unfinished.Start,
    result: Result,
    began: float,
    stoppable: Stoppable,
    callback: Callback,
) -> None:
    """Train the remaining epochs, and write the run."""
    main = rank() == 0

    def save(state: dict[str, Any]) -> None:
        if main:
            unfinished.write_state(folder, state | {"seconds": time.perf_counter() - began})
            write_csv(folder / HISTORY, pd.DataFrame(map(asdict, result.history)))

    callback(Event("started", len(result.history), folder=folder))
    _announce(folder, job, len(result.history))
    fit(job.trainer, result, stoppable=stoppable, save=save, callback=callback)
    callback(Event("trained", len(result.history)))
    if main:
        finish(folder, job, start, result, began)
        callback(Event("written", len(result.history)))
        unfinished.remove_state(folder)


def prepare(
    data: TrainingSource,
    settings: Settings,
    weights: Weights | None,
    parts: Parts | None = None,
    found: TrainingData | None = None,
) -> Job:
    """Read and divide the pairs, create the model, and let its recipe choose what to train.

    ``parts``: the split, instead of that of `divide`, for cross-validation.
    """
    steps = settings.gradient_accumulation_steps
    if steps < world_size():
        raise InputError(
            f"{world_size()} processes can't share a step of {steps} batches\n"
            f"Start {steps}, or train with --gradient-accumulation-steps {world_size()} "
            f"--batch-size {max(1, settings.batch_size * steps // world_size())}"
        )
    recipe = find_model(settings.model).recipe
    fraction, seed = settings.validation_fraction, settings.split_seed
    if found is None:
        found = data.read(settings.parts, fraction=fraction)
    found = found.only(settings.parts)
    pairs, *drawn = divide(found, fraction=fraction, seed=seed)
    train, validation = parts or drawn
    examples = read_examples(pairs, found.labels)
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
    coverage = warn_of_unknown(inputs.tokenizer, examples.texts, ids)
    arguments, model = recipe.create(task, inputs, ids)
    model.to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    prepared = recipe.prepare(model, task, inputs, ids)
    trainer = Trainer(prepared, task, torch.tensor([len(ids[index]) for index in train]))
    description = {"name": settings.model} | arguments
    return Job(
        data,
        found.name,
        fingerprint,
        examples.fingerprint(validation),
        task,
        inputs,
        coverage,
        description,
        model,
        prepared,
        trainer,
    )


def _announce(folder: Path, job: Job, done: int) -> None:
    settings, whole = job.task.settings, job.prepared.module is job.model
    logger.info(
        f"training {'' if whole else 'the head of '}the {settings.model} model on "
        f"{len(job.task.train)} pairs, validating on {len(job.task.validation)}; "
        f"{settings.device}, {settings.precision}"
        + (f", {world_size()} processes" if world_size() > 1 else "")
        + (f"; resuming after epoch {done}" if done else "")
    )
    logger.info(f"writing {folder}; if interrupted: mmsent train --resume {folder}")


def finish(folder: Path, job: Job, start: unfinished.Start, result: Result, began: float) -> None:
    """Write the run. run.json is the last file, since it marks the run as complete."""
    task, kept, examples = job.task, result.kept, job.task.examples
    assert kept is not None, "at least one epoch was trained"
    names, true_labels = examples.label_names, examples.labels[[*task.validation]]
    # Calibrate the probabilities: the only number that the validation pairs decide.
    logits = kept.logits.numpy().astype(np.float32)
    calibration = calibrate(logits, true_labels)
    probabilities = softmax(logits / calibration.temperature)
    job.prepared.module.load_state_dict(kept.weights)
    runs.write_checkpoint(folder, job.model)
    runs.write_tokenizer(folder, job.inputs.tokenizer)
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
            path=job.data.path,
            list=job.list_name,
            fingerprint=job.fingerprint,
            validation_fingerprint=job.validation_fingerprint,
            train_pairs=len(task.train),
            validation_pairs=len(task.validation),
            train_fingerprint=examples.fingerprint(task.train),
            validation=job.data.validation,
            reading=job.data.reading,
        ),
        metrics=score(true_labels, probabilities, names),
        calibration=calibration,
        kept_epoch=kept.epoch,
        epochs=len(result.history),
        seconds=round(time.perf_counter() - began, 1),
        environment=environment(task.settings.device),
    )
    if start.settings.digests:
        runs.write_digests(folder, make_digests(examples, task.train, task.validation))
    guids = [examples.pairs[index].guid for index in task.validation]
    write_predictions(folder / runs.PREDICTIONS, guids, true_labels, probabilities, names)
    save(draw_curves(result.history, kept.epoch), folder / "curves.png")
    write_scores(folder, record.metrics)
    mistakes = find_mistakes(examples, task.validation, probabilities)
    if have_images(mistakes):
        save(draw_mistakes(mistakes, job.inputs.image), folder / "mistakes.png")
    data = describe_data(examples, task.train, task.validation, job.coverage)
    pretrained = bool(job.prepared.pretrained)
    write_report(folder / "report.md", record, data, mistakes, pretrained=pretrained)
    write_record(folder, record)
    if start.latest:
        point_latest(folder)


def _optional(job: Job) -> tuple[Part, ...]:
    """The parts that a pair may lack: see BundleInfo."""
    settings = job.task.settings
    if settings.modality != "both":
        return ("image",) if settings.modality == "text" else ("text",)
    return ("text", "image") if settings.modality_dropout > 0 else job.prepared.optional

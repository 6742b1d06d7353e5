"""A training, from the dataset folder to the finished run."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.adamw import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2

from mmsent.data.dataset import LABELS
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.interrupt import Stoppable
from mmsent.files.lock import locked
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import MISSING
from mmsent.inputs.text import encode_texts
from mmsent_training.batch_norm import RunningStatistics
from mmsent_training.data import (
    FeatureDataset,
    PairDataset,
    StatesDataset,
    decode_images,
    read_pairs,
    split,
)
from mmsent_training.distributed import (
    add_up,
    broadcast,
    gather,
    local_processes,
    processes,
    rank,
)
from mmsent_training.evaluation.calibration import calibrate, reliability, softmax
from mmsent_training.evaluation.metrics import score
from mmsent_training.evaluation.significance import intervals
from mmsent_training.models import light
from mmsent_training.models.embeddings import encode_pairs, fast_precision
from mmsent_training.models.lexicon import read_lexicon
from mmsent_training.runs.interrupt import resumable
from mmsent_training.runs.report import (
    find_mistakes,
    write_confusion,
    write_curves,
    write_mistakes,
    write_reliability,
    write_report,
)
from mmsent_training.runs.run import (
    build_model,
    check_output,
    environment,
    libraries,
    new_folder,
    point_latest,
    write_checkpoint,
    write_record,
    write_tokenizer,
)
from mmsent_training.runs.state import (
    Start,
    check_start,
    read_start,
    read_state,
    remove_state,
    write_start,
    write_state,
)
from mmsent_training.settings import Settings
from mmsent_training.weights.hub import ClipCheckpoint
from mmsent_training.weights.packages import CompactCheckpoint

EVALUATION_BATCH = 64
WINDOW = 8  # steps whose pairs are sorted by length together
PRETRAINED = ("clip.", "layers.")
"""How the names of pretrained parameters begin, in CLIP and in the compact model's head."""


def train(
    data: Path,
    settings: Settings,
    output: Path | None = None,
    *,
    chosen: str,
    checkpoint: ClipCheckpoint | CompactCheckpoint | None = None,
    resume: Path | None = None,
    parts: tuple[list[int], list[int]] | None = None,
) -> Path:
    """Train on the labelled list of ``data`` and write a run; returns its folder.

    ``chosen`` says why it is this model; ``checkpoint`` holds its pretrained weights, if it has
    any. The same settings, seed and dataset give the same run on the same machine, also where it
    was interrupted: ``resume`` is an unfinished run to go on with. ``parts``: the rows to train on
    and to validate on, instead of `split`'s, for cross-validation.
    Raises InputError for bad data, before anything is written, and Interrupted after a signal.
    """
    started = time.perf_counter()
    if output is not None and os.environ.get("RANK", "0") == "0":
        check_output(output)  # before the work, not after it
    # PyTorch counts the machine's cores, whatever part of them a container may use. A resumed run
    # keeps its threads, on which the last bit of a sum depends.
    cores = max(1, available_cores() // local_processes())
    torch.set_num_threads(
        read_start(resume).threads if resume else min(torch.get_num_threads(), cores)
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism needs on CUDA
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A process may train again, in another precision. Accelerate has no public way to say so; what
    # connects the processes of a launcher is in another state, and stays.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    accelerator = Accelerator(
        cpu=settings.device == "cpu",
        mixed_precision="no" if settings.precision == "fp32" else settings.precision,
        step_scheduler_with_optimizer=False,
    )
    set_seed(settings.seed)
    main = rank() == 0
    if settings.accumulation < processes():
        pairs_a_step = settings.batch_size * settings.accumulation
        smaller = f"--accumulation {processes()} --batch-size {max(1, pairs_a_step // processes())}"
        raise InputError(
            f"{processes()} processes can't share a step of {settings.accumulation} batches; "
            + (f"go on with {settings.accumulation}" if resume else f"take {smaller}")
        )

    # The pairs, their split, and the model. A vocabulary comes from the training part alone.
    pairs = read_pairs(data)
    if parts is None:
        parts = split(pairs.labels, share=settings.validation_share, seed=settings.split_seed)
    train_labels, true_labels = (pairs.labels[part] for part in parts)
    fingerprint = pairs.fingerprint()
    check_same(
        settings=settings,
        dataset=fingerprint,
        weights=checkpoint and checkpoint.sha256,
        libraries=libraries(),
    )
    description: dict[str, Any]
    if isinstance(checkpoint, ClipCheckpoint):
        from mmsent_training.models import clip  # brings transformers, which loads slowly

        image = clip.image_settings(checkpoint.folder)
        tokenizer = clip.read_tokenizer(checkpoint.folder, max_length=settings.max_length)
        description = clip.describe(
            checkpoint.folder, labels=len(LABELS), modality=settings.modality
        )
    elif checkpoint is not None:
        from mmsent_training.models import compact

        image = compact.IMAGE
        tokenizer = compact.read_tokenizer(checkpoint, max_length=settings.max_length)
        description = {"name": "compact", "labels": len(LABELS), "modality": settings.modality}
    else:
        image = light.IMAGES[settings.preset]
        texts = [pairs.texts[index] for index in parts[0]]
        tokenizer = light.train_tokenizer(
            texts, max_length=settings.max_length, preset=settings.preset
        )
        description = {
            "name": "light",
            "vocabulary": tokenizer.get_vocab_size(),
            "labels": len(LABELS),
            "modality": settings.modality,
        } | light.PRESETS[settings.preset]
    check_same(tokenizer=tokenizer.to_str())
    ids = encode_texts(tokenizer, pairs.texts)
    model = build_model(description)
    if isinstance(checkpoint, ClipCheckpoint):
        clip.load_pretrained(model, checkpoint.folder)
    elif checkpoint is not None:
        compact.load_pretrained(model, checkpoint)
    else:
        model.learn_ngrams((ids[index] for index in parts[0]), train_labels.tolist())
        if model.lexicon is not None:
            model.lexicon.learn(read_lexicon(), tokenizer)
    model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    # What is trained, and on what: all of it on pairs, or its head on what the rest makes of them.
    datasets: list[PairDataset | FeatureDataset | StatesDataset] = []
    # What stands for a missing text and a missing image, as the runtime will have it.
    no_text = torch.tensor(encode_texts(tokenizer, [""])[0])
    no_image = torch.full((image.size, image.size, 3), MISSING, dtype=torch.uint8)
    if settings.freeze:
        trained = model.head
        assert checkpoint is not None, "only a pretrained encoder is frozen"
        if isinstance(checkpoint, ClipCheckpoint):
            key = {
                "weights": checkpoint.sha256,
                "tokenizer": tokenizer.to_str(),
                "modality": settings.modality,
            }
            # The validation pairs are encoded as a bundle encodes them, so that their scores hold.
            for part, precision in zip(parts, (fast_precision(accelerator.device), "fp32")):
                features = encode_pairs(
                    model, pairs, ids, part, image, key=key, precision=precision
                )
                datasets.append(FeatureDataset(torch.from_numpy(features)))
        else:
            if settings.rated_texts and settings.modality != "image":
                from mmsent_training.models.pretraining import learn_rated_texts

                learn_rated_texts(
                    model, tokenizer, weights=checkpoint.sha256, precision=settings.precision
                )
            states, views = compact.encode(model, pairs, ids, weights=checkpoint.sha256)
            model.head.set_statistics(views[parts[0]])
            # Mirror images are for training alone.
            for part, part_views in zip(parts, (views[parts[0]], views[parts[1], 0])):
                datasets.append(StatesDataset([states[index] for index in part], part_views))
            no_text, no_image = compact.encode_missing(model, no_text, no_image)
    else:
        trained = model
        with Progress("decoding", len(pairs.rows), "images") as progress:
            for part in parts:
                pixels = decode_images(pairs, part, image, progress=progress)
                datasets.append(PairDataset([ids[index] for index in part], pixels))
    training_set, validation_set = datasets
    missing = (no_text.to(accelerator.device), no_image.to(accelerator.device))

    # Loss, optimiser, schedule.
    optimizer = AdamW(parameter_groups(trained, settings), weight_decay=settings.weight_decay)
    averaged = settings.average and AveragedModel(
        trained, multi_avg_fn=moving_average(settings.average), use_buffers=True
    )
    # Gradients are added up by add_up: the model needs no wrapper for that.
    trained = accelerator.prepare_model(trained, evaluation_mode=True)
    if processes() > 1:  # on unlike processors, the last bits of random numbers differ
        trained.load_state_dict(broadcast(trained.state_dict()))
    optimizer = accelerator.prepare_optimizer(optimizer)
    criterion = Criterion(train_labels, settings).to(accelerator.device)
    labels = torch.from_numpy(train_labels).to(accelerator.device)
    lengths = torch.tensor([len(ids[index]) for index in parts[0]])
    steps = settings.epochs * len(divide_epoch(lengths, settings, 1))
    scheduler = LambdaLR(optimizer, warmup_cosine(steps, settings.warmup))
    augment = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(settings.jitter, settings.jitter, settings.jitter),
        ]
    )

    start = Start(
        settings=settings,
        chosen=chosen,
        data=str(data.resolve()),
        fingerprint=fingerprint,
        clip={
            "name": checkpoint.name if checkpoint.revision else str(checkpoint.folder.resolve()),
            "sha256": checkpoint.sha256,
        }
        if isinstance(checkpoint, ClipCheckpoint)
        else None,
        libraries=libraries(),
        threads=torch.get_num_threads(),
        latest=output is None,
    )
    # All that an epoch changes. It draws from a seed of its own, so no generator is part of it.
    stateful = {
        "model": trained,
        "optimizer": optimizer,
        "scheduler": scheduler,
        **({"averaged": averaged} if averaged else {}),
        **({"scaler": accelerator.scaler} if accelerator.scaler else {}),
    }
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"epoch": 0}

    folder = broadcast((resume or new_folder(settings.model, output)) if main else Path())
    busy = f"{folder} is being trained already, by another process"
    lock = locked(folder / ".lock", busy) if main else nullcontext()
    with lock, resumable(folder) as stoppable:
        if resume is None:
            if main:
                write_tokenizer(folder, tokenizer)
                write_start(folder, start)
        else:
            start = broadcast(check_start(folder, start) if main else start)
            if state := broadcast(read_state(folder) if main else None):
                history, best = state["history"], state["best"]
                for name, part in stateful.items():
                    part.load_state_dict(state[name])
        say(
            f"training {'the head of ' if settings.freeze else ''}the {settings.model} model on "
            f"{len(train_labels)} pairs, validating on {len(true_labels)}; "
            f"{settings.device}, {settings.precision}"
            + (f", {processes()} processes" if processes() > 1 else "")
            + (f"; going on after epoch {len(history)}" if resume else "")
        )
        say(f"in {folder}; if it is interrupted: mmsent train --resume {folder}")
        statistics = RunningStatistics(trained)
        for epoch in range(len(history) + 1, settings.epochs + 1):
            if settings.keep == "best" and len(history) - best["epoch"] >= settings.patience:
                say(f"stopped early: no better macro F1 for {settings.patience} epochs")
                break
            trained.train()
            losses: list[Tensor] = []
            epoch_steps = divide_epoch(lengths, settings, epoch)
            with Progress(f"epoch {epoch}", len(train_labels), "pairs", summary=False) as progress:
                for number, batches in enumerate(stoppable(epoch_steps), 1):
                    step_labels = labels[torch.cat(batches)]
                    # Where a step has fewer batches than there are processes, the rest compute one
                    # of them, too, for nothing.
                    for index in range(rank(), max(len(batches), rank() + 1), processes()):
                        rows, counts = batches[index % len(batches)], index < len(batches)
                        # Whoever computes it, a batch draws the same random numbers.
                        torch.manual_seed(batch_seed(settings.seed, epoch, number, index))
                        *inputs, last = (
                            array.to(accelerator.device) for array in training_set.batch(rows)
                        )
                        if settings.augment:  # pixels are the last input
                            last = augment_each(augment, last)
                        if settings.missing and settings.modality == "both":
                            *inputs, last = drop(
                                inputs[0], inputs[1], last, missing, settings.missing
                            )
                        loss = criterion(trained(*inputs, last), labels[rows], step_labels)
                        accelerator.backward(loss * counts)
                        statistics.take(counts)
                        if counts:
                            losses.append(loss.detach() * len(step_labels))
                    add_up([p.grad for p in trained.parameters() if p.grad is not None])
                    statistics.step(len(batches))
                    accelerator.clip_grad_norm_(trained.parameters(), settings.gradient_norm)
                    optimizer.step()
                    if not accelerator.optimizer_step_was_skipped:
                        scheduler.step()
                        if averaged:
                            averaged.update_parameters(trained)
                    optimizer.zero_grad()
                    progress.update(len(step_labels))

            current = averaged.module if averaged else trained
            logits = evaluate(current, validation_set, len(true_labels), stoppable)
            answers = (torch.from_numpy(array) for array in (logits, true_labels))
            validation_loss = float(criterion(*(item.to(accelerator.device) for item in answers)))
            scores = score(true_labels, logits.argmax(axis=1))
            history.append(
                {
                    "epoch": epoch,
                    "train_loss": mean_loss(losses, len(train_labels)),
                    "validation_loss": validation_loss,
                    "accuracy": scores["accuracy"],
                    "macro_f1": scores["macro_f1"],
                    "learning_rate": scheduler.get_last_lr()[0],
                    "seconds": round(progress.seconds, 2),
                }
            )
            better = (
                settings.keep == "last"
                or not best["epoch"]
                or scores["macro_f1"] > best["scores"]["macro_f1"]
            )
            if better:
                best = {
                    "epoch": epoch,
                    "scores": scores,
                    "logits": torch.from_numpy(logits),
                    "weights": copy.deepcopy(current.state_dict()),
                }
            mark = " (best)" if settings.keep == "best" else ""
            if main:
                write_state(
                    folder,
                    {"history": history, "best": best}
                    | {name: part.state_dict() for name, part in stateful.items()},
                )
            say(
                f"epoch {epoch}/{settings.epochs}: loss {history[-1]['train_loss']:.3f}, "
                f"validation loss {validation_loss:.3f}, accuracy {scores['accuracy']:.3f}, "
                f"macro F1 {scores['macro_f1']:.3f}{mark if better else ''}, "
                f"{progress.seconds:.1f} s ({progress.rate:.0f} pairs a second)"
            )

        if not main:
            return folder

        # Probabilities that mean what they say: the one number that the validation pairs decide.
        calibration = calibrate(best["logits"].numpy(), true_labels)
        probabilities = softmax(best["logits"].numpy() / calibration["temperature"])

        # The run: run.json comes last, since it says that the others are there.
        (model.head if settings.freeze else model).load_state_dict(best["weights"])
        write_checkpoint(folder, model)
        record = {
            "created": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            "model": description,
            "image": asdict(image),
            "weights": checkpoint
            and {
                "name": checkpoint.name,
                "revision": checkpoint.revision,
                "sha256": checkpoint.sha256,
            },
            "chosen": chosen,
            "settings": asdict(settings),
            "dataset": {
                "folder": str(data.resolve()),
                "list": pairs.list_name,
                "fingerprint": start.fingerprint,
                "validation_fingerprint": pairs.fingerprint(parts[1]),
                "train_pairs": len(train_labels),
                "validation_pairs": len(true_labels),
            },
            "metrics": best["scores"]
            | {"intervals": intervals(true_labels, probabilities.argmax(axis=1))},
            "calibration": calibration,
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "seconds": round(time.perf_counter() - started, 1),
            "environment": environment(settings.device),
        }
        write_table(folder / "history.csv", pd.DataFrame(history))
        write_table(
            folder / "validation_predictions.csv",
            pd.DataFrame(
                {
                    "guid": [pairs.rows[index].guid for index in parts[1]],
                    "tag": [LABELS[label] for label in true_labels],
                    "predicted": [LABELS[label] for label in probabilities.argmax(axis=1)],
                    **dict(zip(LABELS, probabilities.T)),
                }
            ),
        )
        write_curves(folder / "curves.png", history, best["epoch"])
        write_confusion(folder / "confusion.png", best["scores"]["confusion"])
        bins = reliability(probabilities, true_labels)
        write_reliability(folder / "reliability.png", bins, calibration["error_after"])
        mistakes = find_mistakes(pairs, parts[1], probabilities)
        if mistakes:
            write_mistakes(folder / "mistakes.png", mistakes, image)
        write_report(folder / "report.md", record, mistakes)
        write_record(folder, record)
        if start.latest:
            point_latest(folder)
        remove_state(folder)
    return folder


def parameter_groups(trained: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """The trainable parameters; pretrained ones with a learning rate of their own."""
    pretrained: list[nn.Parameter] = []
    fresh: list[nn.Parameter] = []
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            (pretrained if name.startswith(PRETRAINED) else fresh).append(parameter)
    groups = [{"params": fresh, "lr": settings.learning_rate}]
    if pretrained:
        groups.append({"params": pretrained, "lr": settings.encoder_learning_rate})
    return groups


class Criterion(nn.Module):
    """Cross-entropy as ``settings`` have it, for the classes' frequencies in ``labels``.

    With ``balance`` each class weighs as much as any other. ``adjustment`` adds that share of the
    classes' log-frequencies to the logits while they are trained (Menon et al., Long-tail learning
    via logit adjustment, 2021): without them, a rare class is predicted more often; 1 aims at
    balanced accuracy, 0 at accuracy, and macro F1 lies between them.
    """

    def __init__(self, labels: npt.NDArray[np.int64], settings: Settings) -> None:
        super().__init__()
        counts = torch.from_numpy(np.bincount(labels, minlength=len(LABELS))).float()
        weights = (1 / counts) / (1 / counts).mean()
        self.register_buffer("weights", weights if settings.balance else None)
        self.register_buffer("shift", settings.adjustment * (counts / counts.sum()).log())
        self.smoothing = settings.smoothing

    def forward(self, logits: Tensor, labels: Tensor, whole: Tensor | None = None) -> Tensor:
        """The mean loss of float logits [batch, labels] for int64 labels [batch].

        Where they are a part of a batch, with the labels ``whole``: its share of the batch's mean.
        """
        loss = nn.functional.cross_entropy(
            logits.float() + self.shift, labels, weight=self.weights, label_smoothing=self.smoothing
        )
        return loss if whole is None else loss * (self._weigh(labels) / self._weigh(whole))

    def _weigh(self, labels: Tensor) -> Tensor:
        """What a mean over ``labels`` is divided by."""
        weights = torch.ones_like(self.shift) if self.weights is None else self.weights
        return weights[labels].sum()


def warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """The learning rate's factor at each of ``steps``: a linear rise, then half a cosine to 0."""
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average for AveragedModel, of the steps since the start at first.

    The decay rises to ``decay``, as TensorFlow's ExponentialMovingAverage has it: a short training
    would else keep its first weights.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor) -> None:
        count = float(steps)
        share = 1 - min(decay, (1 + count) / (10 + count))
        for mean, value in zip(averaged, current):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)

    return update


def divide_epoch(lengths: Tensor, settings: Settings, epoch: int) -> list[list[Tensor]]:
    """The steps of an epoch in random order: the rows, int64, of their batches.

    ``lengths``: of each pair's text, in tokens, int64 [pairs]. A step is as many batches as
    gradients are accumulated over; the last ones may be smaller. With ``group_by_length`` a batch
    holds texts of like length, hence little padding: the pairs of a few steps are sorted, and the
    batches made of them shuffled.
    """
    generator = torch.Generator().manual_seed(batch_seed(settings.seed, epoch, 0))
    order = torch.randperm(len(lengths), generator=generator)
    batches = [*torch.split(order, settings.batch_size)]
    if settings.group_by_length:
        batches = []
        for window in torch.split(order, WINDOW * settings.accumulation * settings.batch_size):
            window = window[lengths[window].argsort(stable=True)]
            parts = torch.split(window, settings.batch_size)
            batches += [parts[i] for i in torch.randperm(len(parts), generator=generator)]
    starts = range(0, len(batches), settings.accumulation)
    return [batches[start : start + settings.accumulation] for start in starts]


def batch_seed(*numbers: int) -> int:
    """A seed of its own for every batch, from a training's seed and the batch's numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def augment_each(augment: nn.Module, pixels: Tensor) -> Tensor:
    """Apply a torchvision transform to each image of a batch, uint8 NHWC, drawing anew for each."""
    images = pixels.permute(0, 3, 1, 2).contiguous()
    return torch.stack([augment(image) for image in images]).permute(0, 2, 3, 1)


def drop(
    tokens: Tensor, mask: Tensor, image: Tensor, missing: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Let a ``share`` of the pairs lack their text, and a share their image; none lacks both.

    ``missing`` is what stands for a text, [tokens, ...], and for an image, each of a pair's shape.
    """
    draw = torch.rand(len(tokens), device=tokens.device)
    text, picture = missing
    blank, blank_mask = torch.zeros_like(tokens[:1]), torch.zeros_like(mask[:1])
    blank[:, : len(text)], blank_mask[:, : len(text)] = text.to(tokens.dtype), 1

    def where(rows: Tensor, value: Tensor, other: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (other.dim() - 1)), value, other)

    no_text, no_image = draw < share, draw > 1 - share
    return (
        where(no_text, blank, tokens),
        where(no_text, blank_mask, mask),
        where(no_image, picture, image),
    )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: PairDataset | FeatureDataset | StatesDataset,
    size: int,
    stoppable: Stoppable,
) -> npt.NDArray[np.float32]:
    """Logits, float32 [pairs, labels], of all ``size`` pairs of a dataset, in its order.

    Processes that train together divide the batches, and all have all logits.
    """
    model.eval()
    device = next(model.parameters()).device
    batches = torch.split(torch.arange(size), EVALUATION_BATCH)
    parts = {}
    for start in stoppable(range(0, len(batches), processes())):
        for rows in batches[start + rank() : start + rank() + 1]:
            logits = model(*(array.to(device) for array in dataset.batch(rows)))
            parts[int(rows[0])] = logits.float().cpu().numpy()
    together = np.empty((size, len(LABELS)), np.float32)
    for first, logits in chain.from_iterable(part.items() for part in gather(parts)):
        together[first : first + len(logits)] = logits
    return together


def mean_loss(losses: Sequence[Tensor], size: int) -> float:
    """The mean over ``size`` pairs of what all processes' batches lost, whatever their order."""
    parts = gather(torch.stack([*losses]).tolist() if losses else [])
    return math.fsum(chain.from_iterable(parts)) / size


def check_same(**facts: Any) -> None:
    """Raises InputError where ``facts`` are not the same in all processes that train together."""
    everyone = gather(facts)
    for number, others in enumerate(everyone):
        differing = [name for name in facts if others[name] != everyone[0][name]]
        if differing:
            raise InputError(
                f"process {number} and the main process differ in: {', '.join(differing)}; they "
                "must train the same model on the same pairs"
            )


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file."""
    with atomic_path(path) as part:
        table.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")


def say(message: str) -> None:
    """Tell the people at the terminal."""
    print(message, file=sys.stderr, flush=True)

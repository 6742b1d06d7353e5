"""The training loop. It is independent of the model: a recipe prepares the module and its data."""

import copy
import logging
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2

from mmsent.errors import MmsentError
from mmsent.files.interrupt import Stoppable
from mmsent.files.progress import Progress, per_second
from mmsent_training.batches import augment_each, batch_seed, divide_epoch, drop_modalities
from mmsent_training.distributed import (
    all_gather,
    all_reduce_mean,
    all_reduce_sum,
    broadcast,
    rank,
    world_size,
)
from mmsent_training.evaluation.metrics import macro_f1
from mmsent_training.loss import Criterion
from mmsent_training.models.recipe import Prepared, Task
from mmsent_training.optim import ema_update, make_optimizer, warmup_cosine

EVALUATION_BATCH = 64
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv. Losses are means over the pairs; ``seconds`` excludes validation."""

    epoch: int
    train_loss: float
    validation_loss: float
    accuracy: float
    macro_f1: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Event:
    """Progress of training, for the callback of `train`. ``epoch`` and ``step`` count from 1.

    "started": training begins or, after ``epoch`` epochs, resumes; ``folder`` is the run's. "step":
    an optimiser step is done. "evaluated": the epoch's ``scores`` are known. "saved": the
    epoch's state is on disk, so that an interrupted training resumes after it. "trained": all
    epochs are done, but no result is written. "written": the complete result is written.
    """

    kind: Literal["started", "step", "evaluated", "saved", "trained", "written"]
    epoch: int
    step: int = 0
    folder: Path | None = field(default=None, compare=False)
    scores: Epoch | None = field(default=None, compare=False)


Callback = Callable[[Event], None]


@dataclass(frozen=True)
class Kept:
    """The weights that the run keeps, and the logits of the validation pairs: [pairs, labels]."""

    epoch: int
    macro_f1: float
    logits: Tensor
    weights: dict[str, Tensor]


@dataclass
class Result:
    """The result of the epochs so far."""

    history: list[Epoch] = field(default_factory=list)
    kept: Kept | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "history": [asdict(row) for row in self.history],
            "kept": self.kept and vars(self.kept),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`."""
        self.history = msgspec.convert(state["history"], list[Epoch])
        self.kept = msgspec.convert(state["kept"], Kept | None)


class RunningStatistics:
    """The buffers of a model, such as batch norm statistics, updated once per step.

    Each batch starts from the same values. The update is the mean of the batches' changes, so it
    does not depend on which process computed a batch, or in which order.
    """

    def __init__(self, model: nn.Module) -> None:
        # Integers are tables, such as a bag's n-grams, which training does not change; or counts.
        self.buffers = [b for b in model.buffers() if b.is_floating_point() or b.dim() == 0]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.changes = [torch.zeros_like(buffer) for buffer in self.buffers]

    def take(self, counts: bool) -> None:
        """Record a batch's change of the buffers, if it counts, and undo it."""
        for buffer, before, change in zip(self.buffers, self.before, self.changes):
            if counts:  # a batch that does not may have overflowed
                change += buffer - before
            buffer.copy_(before)

    def step(self, batches: int) -> None:
        """Apply the mean change of a step's ``batches`` in all processes."""
        all_reduce_sum(self.changes)
        for buffer, before, change in zip(self.buffers, self.before, self.changes):
            before += (change / batches).to(before.dtype)
            buffer.copy_(before)
            change.zero_()


class Trainer:
    """Trains a module.

    ``lengths``: of the training texts, in tokens, int64 [pairs].
    Every batch seeds its own random numbers, so the state includes no random generator.
    """

    def __init__(self, prepared: Prepared, task: Task, lengths: Tensor) -> None:
        self.settings = settings = task.settings
        self.device = device = torch.device(settings.device)
        self.module, self.training = prepared.module, prepared.training
        self.validation = prepared.validation
        self.missing = prepared.missing[0].to(device), prepared.missing[1].to(device)
        all_labels = torch.from_numpy(task.examples.labels)
        labels, true_labels = all_labels[[*task.train]], all_labels[[*task.validation]]
        self.classes = len(task.examples.label_names)
        if world_size() > 1:  # on different processors, the last bits of random numbers differ
            self.module.load_state_dict(broadcast(self.module.state_dict()))
        self.labels, self.true_labels = labels.to(device), true_labels.to(device)
        self.lengths = lengths
        self.criterion = Criterion(labels, self.classes, settings).to(device)
        self.optimizer = make_optimizer(self.module, settings, prepared.pretrained, prepared.depths)
        steps = settings.epochs * len(divide_epoch(lengths, settings, 1))
        self.scheduler = LambdaLR(self.optimizer, warmup_cosine(steps, settings.warmup_ratio))
        self.scaler = GradScaler(device.type, enabled=settings.precision == "fp16")
        self.averaged: AveragedModel | None = None
        if settings.ema_decay:
            update = ema_update(settings.ema_decay)
            self.averaged = AveragedModel(self.module, multi_avg_fn=update, use_buffers=True)
        self.statistics = RunningStatistics(self.module)
        colours = v2.ColorJitter(*[settings.color_jitter] * 3)  # brightness, contrast, saturation
        self.augmentation = v2.Compose([v2.RandomHorizontalFlip(), colours])

    @property
    def current(self) -> nn.Module:
        """The module to evaluate: the averaged one, if weights are averaged."""
        return self.averaged.module if self.averaged else self.module

    def state_dict(self) -> dict[str, Any]:
        """Everything that an epoch changes."""
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        for name, part in self._parts():
            # A scheduler takes any field as its own.
            if name == "scheduler" and state[name].keys() != part.state_dict().keys():
                raise ValueError("the scheduler has other fields")
            part.load_state_dict(state[name])
        self.statistics = RunningStatistics(self.module)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for name in ("module", "optimizer", "scheduler", "averaged", "scaler"):
            if (part := getattr(self, name)) is not None:
                yield name, part

    def run_epoch(
        self, epoch: int, stoppable: Stoppable, callback: Callback
    ) -> tuple[float, float]:
        """Train on every pair once. Returns the mean loss of the pairs, and the seconds.

        Raises MmsentError if the loss is not finite.
        """
        self.module.train()
        losses: list[Tensor] = []
        steps, seen, summed = divide_epoch(self.lengths, self.settings, epoch), 0, 0.0
        pairs, epochs = len(self.labels), self.settings.epochs
        later, name = (epochs - epoch) * pairs, f"epoch {epoch}/{epochs}"
        with Progress(name, pairs, "pairs", summary=False, later=later) as progress:
            for number, batches in enumerate(stoppable(steps), 1):
                lost = self._accumulate(epoch, number, batches)
                total = float(self._step(len(batches), lost))
                self._check(total, f"epoch {epoch}, step {number} of {len(steps)}")
                losses += lost
                seen, summed = seen + sum(map(len, batches)), summed + total
                progress.update(seen - progress.count, f"loss {summed / seen:.3f}")
                callback(Event("step", epoch, number))
        parts = torch.stack(losses).tolist() if losses else []
        return all_reduce_mean(parts, pairs), progress.seconds

    def _accumulate(self, epoch: int, step: int, batches: Sequence[Tensor]) -> list[Tensor]:
        """Accumulate the gradients of this process's batches in a step; returns their losses."""
        whole = self.labels[torch.cat([*batches])]
        losses = []
        # If a step has fewer batches than processes, the other processes compute one of its batches
        # without using the result.
        for index in range(rank(), max(len(batches), rank() + 1), world_size()):
            rows, counts = batches[index % len(batches)], index < len(batches)
            # A batch draws the same random numbers in every process.
            torch.manual_seed(batch_seed(self.settings.seed, epoch, step, index))
            inputs = self._augment([array.to(self.device) for array in self.training.batch(rows)])
            dtype = DTYPES[self.settings.precision]
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                logits = self.module(*inputs)
            loss = self.criterion(logits, self.labels[rows], whole)
            torch.autograd.backward(self.scaler.scale(loss * counts))
            self.statistics.take(counts)
            if counts:
                losses.append(loss.detach() * len(whole))
        return losses

    def _augment(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Augment a batch; the image is the last of ``inputs``."""
        *others, image = inputs
        if self.settings.augment:
            image = augment_each(self.augmentation, image)
        if self.settings.modality_dropout and self.settings.modality == "both":
            tokens, mask = others
            share = self.settings.modality_dropout
            return drop_modalities(tokens, mask, image, self.missing, share)
        return [*others, image]

    def _step(self, batches: int, losses: Sequence[Tensor]) -> Tensor:
        """Take an optimiser step with the gradients of all processes' ``batches``.

        ``losses``: of this process. Returns the sum over all processes, float [].
        """
        total = sum(losses, torch.zeros((), device=self.device))
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        all_reduce_sum([*gradients, total])
        self.statistics.step(batches)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # otherwise a gradient overflowed
            self.scheduler.step()
            if self.averaged:
                self.averaged.update_parameters(self.module)
        self.optimizer.zero_grad()
        return total

    def _check(self, loss: float, where: str) -> None:
        """Raises MmsentError unless ``loss`` is finite."""
        if math.isfinite(loss):
            return
        raise MmsentError(
            f"the loss is {loss:.0f} in {where}: the training diverged\n"
            f"Train again with a lower --learning-rate than {self.settings.learning_rate:g}"
        )

    @torch.no_grad()
    def validate(self, epoch: int, stoppable: Stoppable) -> tuple[npt.NDArray[np.float32], float]:
        """Logits of the validation pairs, float32 [pairs, labels], and their loss, in fp32.

        The processes share the pairs; each one returns the logits of all pairs.
        Raises MmsentError if the loss is not finite.
        """
        self.current.eval()
        batches = torch.split(torch.arange(len(self.true_labels)), EVALUATION_BATCH)
        mine: dict[int, Tensor] = {}
        for start in stoppable(range(0, len(batches), world_size())):
            for rows in batches[start + rank() : start + rank() + 1]:
                inputs = (array.to(self.device) for array in self.validation.batch(rows))
                mine[int(rows[0])] = self.current(*inputs).float().cpu()
        by_row = ChainMap(*all_gather(mine))
        logits = torch.cat([by_row[row] for row in sorted(by_row)])
        loss = float(self.criterion(logits.to(self.device), self.true_labels))
        self._check(loss, f"the validation of epoch {epoch}")
        return logits.numpy(), loss


def fit(
    trainer: Trainer,
    result: Result,
    *,
    stoppable: Stoppable,
    save: Callable[[dict[str, Any]], None],
    callback: Callback,
) -> None:
    """Train the remaining epochs of ``result``; ``save`` stores the state after each.

    ``stoppable`` wraps iterables and may raise between two items.
    """
    settings = trainer.settings
    true_labels = trainer.true_labels.cpu().numpy()
    for epoch in range(len(result.history) + 1, settings.epochs + 1):
        best = result.kept.epoch if result.kept else 0
        if settings.keep == "best" and epoch - 1 - best >= settings.patience:
            logger.info("stopped early: no better macro F1 for %d epochs", settings.patience)
            break
        train_loss, seconds = trainer.run_epoch(epoch, stoppable, callback)
        logits, validation_loss = trainer.validate(epoch, stoppable)
        predicted = logits.argmax(axis=1)
        row = Epoch(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=validation_loss,
            accuracy=float(np.mean(true_labels == predicted)),
            macro_f1=macro_f1(true_labels, predicted, trainer.classes),
            learning_rate=trainer.scheduler.get_last_lr()[0],
            seconds=round(seconds, 2),
        )
        result.history.append(row)
        better = settings.keep == "last" or not result.kept or row.macro_f1 > result.kept.macro_f1
        if better:
            weights = copy.deepcopy(trainer.current.state_dict())
            result.kept = Kept(epoch, row.macro_f1, torch.from_numpy(logits), weights)
        callback(Event("evaluated", epoch, scores=row))
        save({"result": result.state_dict()} | trainer.state_dict())
        callback(Event("saved", epoch))
        mark = " (best)" if better and settings.keep == "best" else ""
        rate = per_second(len(trainer.labels), seconds)
        logger.info(
            f"epoch {epoch}/{settings.epochs}: loss {train_loss:.3f}, validation loss "
            f"{validation_loss:.3f}, accuracy {row.accuracy:.3f}, macro F1 {row.macro_f1:.3f}"
            f"{mark}, {seconds:.1f} s ({rate} pairs a second)"
        )

"""The optimiser, the learning rate schedule, and the moving average of the weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import AdamW

from mmsent_training.settings import Settings


def make_optimizer(
    module: nn.Module,
    settings: Settings,
    pretrained: Sequence[str],
    depths: Mapping[str, int] | None = None,
) -> AdamW:
    """AdamW over the trainable parameters of ``module``.

    ``pretrained``: prefixes of the names of pretrained parameters, which use the learning rate
    ``settings.encoder_learning_rate``, times ``settings.layer_decay`` for each layer above them, of
    which ``depths`` are the numbers (Clark et al., 2020): see `Prepared`.
    """
    known: dict[float, list[nn.Parameter]] = {}
    new: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if not name.startswith(tuple(pretrained)):
            new.append(parameter)
            continue
        prefix = max((each for each in depths or {} if name.startswith(each)), key=len, default="")
        decay = settings.layer_decay ** (depths or {}).get(prefix, 0)
        known.setdefault(settings.encoder_learning_rate * decay, []).append(parameter)
    groups: list[dict[str, Any]] = [{"params": new, "lr": settings.learning_rate}]
    groups += [{"params": parameters, "lr": rate} for rate, parameters in known.items()]
    return AdamW(groups, weight_decay=settings.weight_decay)


def warmup_cosine(steps: int, warmup_ratio: float) -> Callable[[int], float]:
    """The learning rate's factor at each of ``steps``: linear warm-up, then cosine decay to 0."""
    rise = max(1, round(steps * warmup_ratio))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor


def ema_update(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average for AveragedModel.

    The decay rises to ``decay``, as in TensorFlow's ExponentialMovingAverage. Otherwise a short
    training would keep too much of its first weights.
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

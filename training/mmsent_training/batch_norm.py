"""Batch norms' running statistics, whoever computes a step's batches, and in whichever order."""

from __future__ import annotations

import torch
from torch import nn

from mmsent_training.distributed import add_up


class RunningStatistics:
    """The buffers of a model in training, moved once a step.

    Each batch starts from the same; then they move by the mean of what the batches made of them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.buffers = [*model.buffers()]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.changes = [torch.zeros_like(buffer) for buffer in self.buffers]

    def take(self, counts: bool) -> None:
        """Note what a batch made of them, if it counts, and undo it."""
        for buffer, before, change in zip(self.buffers, self.before, self.changes):
            if counts:  # one that does not may have overflowed
                change += buffer - before
            buffer.copy_(before)

    def step(self, batches: int) -> None:
        """Move by the mean of what was taken from a step's ``batches``, by all processes."""
        add_up(self.changes)
        for buffer, before, change in zip(self.buffers, self.before, self.changes):
            before += (change / batches).to(before.dtype)
            buffer.copy_(before)
            change.zero_()

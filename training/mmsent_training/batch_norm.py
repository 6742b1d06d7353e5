"""Batch normalisation over the rows of all processes, on CPUs too.

torch.nn.SyncBatchNorm is for GPUs alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def share_batch_norms(model: nn.Module) -> None:
    """Let every BatchNorm2d in ``model`` take the statistics of all processes' rows."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d


class SharedBatchNorm2d(nn.BatchNorm2d):
    """In training, normalises float [batch, channels, height, width] over all processes' rows."""

    def forward(self, input: Tensor) -> Tensor:
        """As BatchNorm2d's, over the whole batch."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = values.new_tensor([values.numel() / self.num_features])
        sums = _sum(torch.cat([values.sum((0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().sum((0, 2, 3))) / total
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * total / (total - 1), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


def _sum(values: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow."""
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total

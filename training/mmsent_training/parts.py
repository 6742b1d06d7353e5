"""A part of a batch, computed as it would be in the whole batch.

Other processes compute the rest. Every one draws, from the same seed, for the whole batch, and
takes what its rows get; batch norms take the statistics of all processes' rows
(torch.nn.SyncBatchNorm does so on GPUs alone).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional
from torch.overrides import TorchFunctionMode

DROPOUTS = (functional.dropout, functional.dropout1d)


def as_in_whole(rows: Sequence[int], size: int) -> AbstractContextManager[Any]:
    """The block computes ``rows`` of a batch of ``size``, and gets what it would get for all.

    This holds for dropout, torch.rand and batch norms in training, of tensors whose first dimension
    is the batch.
    """
    return nullcontext() if len(rows) == size else _Part(list(rows), size)


class _Part(TorchFunctionMode):
    def __init__(self, rows: list[int], size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.size = rows, size

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func is functional.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func is torch.rand:
            shape = args[0] if isinstance(args[0], Sequence) else args
            if shape[0] == len(self.rows):
                return torch.rand((self.size, *shape[1:]), **kwargs)[self.rows]
        return func(*args, **kwargs)

    def _dropout(
        self,
        dropout: Callable[..., Tensor],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        if not training or p == 0:
            return input
        # In the input's layout: random numbers are drawn in the order of the memory.
        strides = input.stride()
        order = sorted(range(input.dim()), key=lambda dim: -strides[dim])
        ones = torch.empty_permuted(
            (self.size, *input.shape[1:]), order, dtype=input.dtype, device=input.device
        ).fill_(1)
        return input * dropout(ones, p, True)[self.rows]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """torch.nn.functional.batch_norm of float [batch, channels, ...], over all processes' rows."""
    if not training:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    values = input.float()  # sums of half-precision numbers would lose their last ones
    dims = [dim for dim in range(input.dim()) if dim != 1]
    shape = [-1 if dim == 1 else 1 for dim in range(input.dim())]
    count = values.new_tensor([values.numel() / values.shape[1]])
    sums = _sum(torch.cat([values.sum(dims), count]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    centred = values - mean.view(shape)
    variance = _sum(centred.square().sum(dims)) / total
    with torch.no_grad():
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * total / (total - 1), momentum)
    scale = torch.rsqrt(variance + eps) * weight
    return (centred * scale.view(shape) + bias.view(shape)).to(input.dtype)


def _sum(values: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow."""
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total

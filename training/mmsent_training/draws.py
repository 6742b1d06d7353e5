"""Random numbers that do not depend on how a batch is divided among processes.

Every process draws, from the same seed, for the whole batch, and takes what its rows get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

DROPOUTS = (functional.dropout, functional.dropout1d)


def drawing(rows: Sequence[int], size: int) -> AbstractContextManager[Any]:
    """While the block computes ``rows`` of a batch of ``size``, it draws as if it computed all.

    This holds for dropout and for torch.rand, in tensors whose first dimension is the batch.
    """
    return nullcontext() if len(rows) == size else _Draws(list(rows), size)


class _Draws(TorchFunctionMode):
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

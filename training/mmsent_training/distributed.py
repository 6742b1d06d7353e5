"""Several processes that train one model together: what each computes, and that one speaks.

Where no launcher has started several, all of this does nothing and costs nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmsent.errors import Interrupted

Value = TypeVar("Value")

PATIENCE = 10.0
"""Seconds for which a process that failed lets the main one, which may fail alike, speak first."""


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them; 0 is the main one, which writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_processes() -> int:
    """How many of them the launcher started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def name_part(work: str) -> str:
    """What to call this process's part of ``work``."""
    return work if processes() == 1 else f"{work}, part {rank() + 1} of {processes()}"


def broadcast(value: Value) -> Value:
    """The main process's ``value``, in every process."""
    if processes() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, group=_group())
    return values[0]


def gather(value: Value) -> list[Value]:
    """The ``value`` of every process, in every process."""
    if processes() == 1:
        return [value]
    values: list[Value] = [value] * processes()
    dist.all_gather_object(values, value, group=_group())
    return values


def add_up(tensors: Sequence[Tensor]) -> None:
    """Put into each of ``tensors`` the sum of what all processes have there."""
    if processes() > 1 and tensors:
        together = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(together)
        parts = torch.split(together, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts):
            tensor.copy_(part.view_as(tensor))


def highest(number: int) -> int:
    """The highest ``number`` of any process, in every process."""
    if processes() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_group())
    return int(tensor)


def leave() -> None:
    """Wait for the other processes, and end this one well; where there are none, do nothing.

    The interpreter's own end is left out: threads of gloo that still want its lock then, to free
    the last tensors, would abort the process.
    """
    if processes() > 1:
        gather(None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@cache
def _group() -> dist.ProcessGroup:
    """The processes, connected by gloo: what lies in main memory needs no detour over the GPUs."""
    group: dist.ProcessGroup = dist.new_group(backend="gloo")
    return group


@contextmanager
def only_main_speaks() -> Iterator[None]:
    """Let the block print nothing in the other processes of a launcher, but for their errors.

    The launcher ends all processes as soon as one fails, so the others let the main one go first.
    """
    if int(os.environ.get("RANK", 0)) == 0:
        yield
        return
    try:
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            yield
    except Interrupted as error:
        sys.exit(error.exit_code)
    except Exception:
        time.sleep(PATIENCE)
        raise

"""Several processes that train one model together.

In a single process, all of these functions do nothing.
"""

import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmsent.errors import InputError, Interrupted

Value = TypeVar("Value")

PATIENCE = 10.0
"""Seconds that a failed process waits, so that the main one can report the same failure first."""


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The rank of this process; 0 is the main process, which writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_world_size() -> int:
    """The number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def connect(device: str) -> None:
    """Connect the processes that a launcher such as torchrun started, if there is one.

    ``device``: "cpu" or "cuda"; each process uses the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")


def name_part(work: str) -> str:
    """The name of this process's part of ``work``, for messages."""
    return work if world_size() == 1 else f"{work}, part {rank() + 1} of {world_size()}"


def broadcast(value: Value) -> Value:
    """The main process's ``value``, in every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, group=_group())
    return values[0]


def all_gather(value: Value) -> list[Value]:
    """The ``value`` of every process, in every process."""
    if world_size() == 1:
        return [value]
    values: list[Value] = [value] * world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def all_reduce_sum(tensors: Sequence[Tensor]) -> None:
    """Replace each of ``tensors`` by its sum over all processes."""
    if world_size() > 1 and tensors:
        together = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(together)
        parts = torch.split(together, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts):
            tensor.copy_(part.view_as(tensor))


def all_reduce_mean(values: Sequence[float], count: int) -> float:
    """The sum of all processes' ``values`` divided by ``count``, independent of their order."""
    return math.fsum(chain.from_iterable(all_gather([*values]))) / count


def all_reduce_max(number: int) -> int:
    """The maximum of ``number`` over all processes, in every process."""
    if world_size() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_group())
    return int(tensor)


def check_same(**facts: Any) -> None:
    """Raises InputError unless ``facts`` are the same in all processes."""
    everyone = all_gather(facts)
    for number, others in enumerate(everyone):
        differing = [name for name in facts if others[name] != everyone[0][name]]
        if differing:
            raise InputError(
                f"process {number} and the main process differ in: {', '.join(differing)}\n"
                "All processes must train the same model on the same pairs"
            )


def leave() -> None:
    """Wait for the other processes, then exit with success; do nothing in a single process.

    This skips the interpreter's shutdown: threads of gloo that still need its lock, to free the
    last tensors, would abort the process.
    """
    if world_size() > 1:
        all_gather(None)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@cache
def _group() -> dist.ProcessGroup:
    """The processes, connected by gloo, for data in main memory."""
    return dist.new_group(backend="gloo")


@contextmanager
def only_main_speaks() -> Iterator[None]:
    """Suppress the block's output in all processes but the main one, except for errors.

    The launcher ends all processes as soon as one fails, so the others let the main one fail first.
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

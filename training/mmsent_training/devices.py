"""The device and precision of training, and reproducible computation."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch.utils.deterministic

from mmsent.errors import InputError
from mmsent.files.machine import available_cores
from mmsent_training.distributed import local_world_size
from mmsent_training.settings import Device, Precision


@dataclass(frozen=True)
class Environment:
    """The environment of training. ``libraries``: see the function of that name."""

    platform: str
    gpu: str | None
    threads: int
    libraries: dict[str, str | None]


def pick_device(asked: str) -> Device:
    """The device to train on: ``asked`` or, for "auto", a GPU if there is one.

    Raises InputError if ``asked`` is "cuda" and PyTorch sees no GPU.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def training_precision(device: Device) -> Precision:
    """bf16 or fp16 on a GPU, fp32 on a CPU."""
    if device == "cpu":
        return "fp32"
    # Compute capability 8.0 (Ampere) is the first with bf16 arithmetic; older ones emulate it.
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"


def embedding_precision(device: Device) -> Precision:
    """bf16 if the processor or GPU supports it, otherwise fp32."""
    if device == "cuda":
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


def thread_count() -> int:
    """PyTorch's number of threads, limited to this process's share of the available cores.

    PyTorch counts the machine's cores, even if a container may use fewer.
    """
    cores = max(1, available_cores() // local_world_size())
    return min(torch.get_num_threads(), cores)


@contextmanager
def reproducible(seed: int, threads: int, device: Device) -> Iterator[None]:
    """Seed PyTorch and make it deterministic; restore its state at the end of the block.

    The last bit of a sum depends on the number of ``threads``.
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    gpus = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # PyTorch would fill new memory, in case it is read before it is written, which takes an
        # eighth of a training of the light model.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            memory.fill_uninitialized_memory = fill
            torch.set_num_threads(before)


def libraries() -> dict[str, str | None]:
    """The versions of all libraries that affect the result of training."""
    names = "mmsent-training torch torchvision transformers scikit-learn tokenizers pillow numpy"
    versions = {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "onnxruntime": onnxruntime.__version__,  # its package's name depends on the device
    }
    return versions | {name: version(name) for name in names.split()}


def environment(device: Device) -> Environment:
    """The environment of this process."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return Environment(platform.platform(), gpu, torch.get_num_threads(), libraries())

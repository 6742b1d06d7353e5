"""PyTorch: what it was built for, what it sees, and whether it computes."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from mmsent.doctor.child import Tell


def probe(tell: Tell) -> None:
    """Import torch, list the devices and compute on each."""
    tell(doing="importing torch")
    try:
        torch: Any = importlib.import_module("torch")  # of any version, and untyped
    except Exception as error:
        tell(import_error=f"{type(error).__name__}: {error}")
        return
    tell(
        version=torch.__version__,
        cuda=torch.version.cuda,
        hip=getattr(torch.version, "hip", None),
        file=torch.__file__,
    )
    tell(doing="computing on the CPU")
    tell(cpu=_compute(torch, "cpu"))
    tell(doing="looking for GPUs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        count = torch.cuda.device_count()
    tell(available=available, count=count, complaints=[str(one.message) for one in caught])
    if not available:
        if torch.version.cuda:
            try:
                torch.cuda.init()
            except Exception as error:
                tell(init_error=str(error))
        return
    tell(architectures=torch.cuda.get_arch_list(), cudnn=torch.backends.cudnn.version())
    devices: list[dict[str, Any]] = []
    for index in range(count):
        tell(doing=f"computing on GPU {index}")
        properties = torch.cuda.get_device_properties(index)
        major, minor = torch.cuda.get_device_capability(index)
        device = {
            "name": properties.name,
            "memory_mib": properties.total_memory >> 20,
            "capability": f"{major}.{minor}",
            "results": _compute(torch, f"cuda:{index}"),
        }
        devices.append(device)
        tell(devices=devices)


def _compute(torch: Any, device: str) -> dict[str, str]:
    """Multiply matrices and convolve an image in each precision: "right", "wrong" or the error.

    The numbers are so small that every precision represents every sum exactly.
    """
    left = (torch.arange(64 * 64) % 3).reshape(64, 64)
    right = (torch.arange(64 * 64) % 2).reshape(64, 64)
    product = left @ right  # integers, on the CPU: at most 64 * 2, exact in bfloat16, too
    image = (torch.arange(3 * 32 * 32) % 3).reshape(1, 3, 32, 32)
    kernel = torch.ones(4, 3, 3, 3)
    sums = torch.nn.functional.conv2d(image.double(), kernel.double())
    results = {}
    for name in ("float32", "bfloat16", "float16"):
        kind = getattr(torch, name)
        try:
            multiplied = left.to(device, kind) @ right.to(device, kind)
            convolved = torch.nn.functional.conv2d(image.to(device, kind), kernel.to(device, kind))
            same = torch.equal(multiplied.cpu().long(), product)
            same = same and torch.equal(convolved.cpu().double(), sums)
            results[name] = "right" if same else "wrong"
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return results

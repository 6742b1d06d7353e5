"""PyTorch and torchvision: whether they fit each other, the driver and the GPUs, and compute."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from mmsent.doctor.child import Told
from mmsent.doctor.finding import (
    Finding,
    Group,
    failure,
    listed,
    not_applicable,
    ok,
    warning,
)
from mmsent.doctor.installed import TRAINING, version_of
from mmsent.doctor.nvidia import MINIMUM_DRIVER, TOOLKIT_DRIVER, Driver
from mmsent.doctor.system import PIP
from mmsent.doctor.version import parse_version

INDEX = "https://download.pytorch.org/whl"
"""PyTorch's own index; a build for CUDA 12.1 is under /cu121, one for the CPU under /cpu."""

_TAKES_CPU = "training takes the CPU"

_CUDA_ERRORS = {
    "802": "sudo systemctl start nvidia-fabricmanager  # GPUs joined by NVSwitch need it, in the "
    "very version of the driver",
    "803": "sudo reboot  # the driver's library and its kernel module are of different versions",
    "804": "unset LD_LIBRARY_PATH, or take the folder cuda/compat out of it: its driver library is "
    "for other GPUs",
    "34": "take the folder of the stub libcuda.so (…/stubs) out of LD_LIBRARY_PATH",
    "999": "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm  # needed after a laptop slept",
}
"""What mends the errors of CUDA's initialisation that say little: cudaError_t, by number."""


def examine_torch(torch: Told | None, libraries: Told, driver: Driver) -> Group:
    """Judge what the probe of PyTorch told; ``torch`` is None where training is not installed."""
    if torch is None:
        missing = f"{TRAINING} is not installed"
        mend = f"{PIP} install {TRAINING}  # only to train"
        return Group("PyTorch", [not_applicable("training-not-installed", missing, mend=mend)])
    facts = torch.facts | {"stderr": torch.answer.errors}
    group = Group("PyTorch", facts=facts)
    if version_of("torch") is None and "version" not in facts:
        group.findings.append(
            failure(
                "torch-missing",
                "torch is not installed",
                why=f"{TRAINING} needs it",
                mend=f"{PIP} install {gpu_build(driver) if driver.gpus else 'torch torchvision'}",
                stops=["train"],
            )
        )
        return group
    if "import_error" in facts:
        group.findings.append(_import_error(facts["import_error"]))
        return group
    if "version" in facts:
        built = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "built for the CPU alone"
        if facts.get("hip"):
            built = f"built for ROCm {facts['hip']}"
        group.findings.append(ok("torch", f"torch {facts['version']}, {built}"))
    if not torch.done:
        group.findings.append(_dead(torch))
    elif wrong := _wrong("the CPU", {"float32": facts["cpu"]["float32"]}):
        group.findings.append(wrong)
    if "available" in facts:
        group.findings += _gpus(facts, driver)
    group.findings += _torchvision(facts, libraries)
    return group


def usable_gpus(torch: Told | None) -> int:
    """The number of GPUs on which PyTorch computed rightly in single precision."""
    devices = torch.facts.get("devices", []) if torch and torch.done else []
    return sum(device["results"]["float32"] == "right" for device in devices)


def gpu_build(driver: Driver) -> str:
    """What to install so that PyTorch uses this driver's GPUs: arguments for pip."""
    cuda = parse_version(driver.cuda)
    newest = max((parse_version(gpu.capability or "") for gpu in driver.gpus), default=())
    if cuda >= (13,):
        return "torch torchvision"
    if cuda and cuda < (12,):
        return f"torch==2.4.1 torchvision==0.19.1 --index-url {INDEX}/cu118"
    if newest >= (10,) or sys.version_info >= (3, 13):  # torch 2.4.1 knows neither
        return f"torch torchvision --index-url {INDEX}/cu128"
    return "torch==2.4.1 torchvision==0.19.1"  # the index's last pair for CUDA 12.1


def _dead(torch: Told) -> Finding:
    if torch.hung:
        return failure(
            "torch-hangs",
            f"PyTorch {torch.end}",
            why="a driver that is stuck does that, or a very slow disk",
            mend="mmsent doctor --time-limit 120  # if the disk is slow; else reboot",
            stops=["train"],
        )
    version = version_of("torch")
    return failure(
        "torch-crashes",
        f"PyTorch {torch.end}",
        why=torch.reason,
        mend=f"{PIP} install --force-reinstall torch=={version}",
        stops=["train"],
    )


def _import_error(error: str) -> Finding:
    if "LD_LIBRARY_PATH" in os.environ and re.search(r"undefined symbol|\.so", error):
        mend = "unset LD_LIBRARY_PATH  # its libraries are taken before those that torch brings"
    else:
        mend = f"{PIP} install --force-reinstall torch=={version_of('torch')}"
    return failure(
        "torch-import-fails",
        f"torch {version_of('torch')} can't be imported",
        why=error.splitlines()[0],
        mend=mend,
        stops=["train"],
    )


def _wrong(device: str, results: dict[str, str]) -> Finding | None:
    """The finding about a device that doesn't compute rightly in single precision."""
    result = results["float32"]
    if result == "right":
        return None
    if result == "wrong":
        return failure(
            "torch-wrong-result",
            f"PyTorch computes wrongly on {device}",
            why="a small matrix product and a convolution were not what they are on paper",
            mend="for a GPU, upgrade its driver and reboot; if it stays so, the hardware is faulty",
            stops=["train"],
        )
    return failure(
        "torch-kernel-fails",
        f"PyTorch can't compute on {device}",
        why=result,
        mend="free the GPU's memory if that is full (nvidia-smi shows by whom); else reboot, and "
        f"{PIP} install --force-reinstall torch=={version_of('torch')}",
        stops=["train"],
    )


def _gpus(facts: dict[str, Any], driver: Driver) -> list[Finding]:
    if facts["available"]:
        return _visible_gpus(facts, driver)
    if not driver.gpus and not (facts["cuda"] and driver.present):
        return [not_applicable("torch-no-gpu", f"no GPU for PyTorch: {_TAKES_CPU}")]
    return [_unavailable(facts, driver)]


def _unavailable(facts: dict[str, Any], driver: Driver) -> Finding:
    """Why there is a GPU and PyTorch sees none: the one cause that hides the others first."""
    names = listed(gpu.name for gpu in driver.gpus)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not facts["cuda"]:
        return warning(
            "torch-cpu-build",
            f"torch {facts['version']} is built for the CPU alone, beside {names}",
            why=_TAKES_CPU,
            mend=f"{PIP} install --force-reinstall {gpu_build(driver)}",
        )
    if too_old := _driver_too_old(facts["cuda"], driver):
        return too_old
    if driver.gpus and hidden is not None:
        return warning(
            "torch-gpus-hidden",
            f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU: {names}",
            why=_TAKES_CPU,
            mend="unset CUDA_VISIBLE_DEVICES",
        )
    if not driver.gpus:
        return not_applicable(
            "torch-no-gpu", f"no GPU for PyTorch: {_TAKES_CPU}", why="see NVIDIA, above"
        )
    said = facts.get("init_error") or " ".join(facts.get("complaints", []))
    number = re.search(r"Error (\d+)", said)
    mend = _CUDA_ERRORS.get(number[1] if number else "", "sudo reboot")
    if "Found no NVIDIA driver" in said:  # nvidia-smi did: what is missing is libcuda.so.1
        mend = (
            "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …  # outside a "
            "container, install the driver's library libcuda.so.1 again"
        )
    return warning(
        "torch-gpu-unavailable",
        f"nvidia-smi lists {names}, but PyTorch can't use the GPU",
        why=said.splitlines()[0] if said else "PyTorch gives no reason",
        mend=mend,
    )


def _driver_too_old(cuda: str, driver: Driver) -> Finding | None:
    minimum = MINIMUM_DRIVER.get(parse_version(cuda)[0])
    if sys.platform == "linux" and minimum and driver.version:
        old = parse_version(driver.version) < parse_version(minimum)
    else:  # the numbers of other systems' drivers differ
        old = bool(driver.cuda) and parse_version(driver.cuda)[0] < parse_version(cuda)[0]
    if not old:
        return None
    needs = f"torch is built for CUDA {cuda}, which needs driver {minimum or ''} or newer"
    if cuda in TOOLKIT_DRIVER:
        needs += f" ({TOOLKIT_DRIVER[cuda]} came with it)"
    return warning(
        "torch-driver-too-old",
        f"NVIDIA driver {driver.version} is too old for CUDA {cuda}",
        why=f"{needs}; {_TAKES_CPU}",
        mend=f"upgrade the driver to {minimum or 'a newer one'} or newer, or take a torch for this "
        f"driver: {PIP} install --force-reinstall {gpu_build(driver)}",
    )


def _visible_gpus(facts: dict[str, Any], driver: Driver) -> list[Finding]:
    findings: list[Finding] = []
    for index, device in enumerate(facts.get("devices", [])):
        name = f"GPU {index} ({device['name']})"
        results: dict[str, str] = device["results"]
        if not _built_for(device["capability"], facts["architectures"]):
            findings.append(_foreign(name, device["capability"], facts, driver))
        elif wrong := _wrong(name, results):
            findings.append(wrong)
        elif half := [kind for kind in ("bfloat16", "float16") if results[kind] != "right"]:
            findings.append(
                warning(
                    "torch-half-precision",
                    f"{name} computes rightly, but not in {listed(half)}",
                    why=f"{half[0]}: {results[half[0]]}; training there needs single precision",
                    mend="upgrade the driver and torch; GPUs before compute capability 8.0 have no "
                    "bfloat16 of their own",
                )
            )
        else:
            right = f"{name} computes rightly in fp32, bf16 and fp16"
            findings.append(ok("torch-gpu", right))
    shown, count = facts["count"], len(driver.gpus)
    if shown < count and "CUDA_VISIBLE_DEVICES" in os.environ:
        value = os.environ["CUDA_VISIBLE_DEVICES"]
        text = f"PyTorch sees {shown} of {count} GPUs: CUDA_VISIBLE_DEVICES is {value!r}"
        findings.append(ok("torch-gpus-selected", text))
    return findings


def _built_for(capability: str, architectures: list[str]) -> bool:
    """Whether a build runs on a GPU: on a later minor of its architectures; with PTX, on any later.

    A list that can't be read proves nothing: then the kernels decide.
    """
    major, minor = parse_version(capability)
    known = False
    for name in architectures:
        if match := re.fullmatch(r"(sm|compute)_(\d+)(\d)", name):
            known = True
            built = int(match[2]), int(match[3])
            if built <= (major, minor) and (match[1] == "compute" or built[0] == major):
                return True
    return not known


def _foreign(name: str, capability: str, facts: dict[str, Any], driver: Driver) -> Finding:
    return failure(
        "torch-gpu-architecture",
        f"torch {facts['version']} is not built for {name}, compute capability {capability}",
        why=f"it is built for {listed(facts['architectures'])}; `mmsent train` would fail there",
        mend=f"{PIP} install --force-reinstall {gpu_build(driver)}  "
        "# meanwhile: mmsent train --device cpu",
        stops=["train"],
    )


def _torchvision(facts: dict[str, Any], libraries: Told) -> list[Finding]:
    version = version_of("torchvision")
    torch = facts.get("version", version_of("torch"))
    if version is None or torch is None:
        return []  # the libraries' group says so
    pinned = _pinned_torch(version)
    error = libraries.facts.get("errors", {}).get("torchvision", "")
    builds = _build(torch), _build(version)
    if pinned and parse_version(pinned) != parse_version(torch):
        why = f"it was built for torch {pinned}"
    elif error and ("torchvision::nms" in error or builds[0] != builds[1]):
        why = f"they are builds for different devices: {builds[0]} and {builds[1]}"
    elif error:
        return [
            failure(
                "torchvision-import-fails",
                f"torchvision {version} can't be imported",
                why=error.splitlines()[0],
                mend=f"{PIP} install --force-reinstall --no-deps torchvision=={version}",
                stops=["train"],
            )
        ]
    else:
        return [ok("torchvision", f"torchvision {version} belongs to torch {torch}")]
    return [
        failure(
            "torchvision-mismatch",
            f"torchvision {version} does not fit torch {torch}",
            why=why + (f"; importing it fails: {error.splitlines()[0]}" if error else ""),
            mend=f"{PIP} install --force-reinstall --no-deps {_torchvision_for(torch)}",
            stops=["train"],
        )
    ]


def _pinned_torch(version: str) -> str:
    """The torch that an installed torchvision was built for: it requires that very version."""
    try:
        required = distribution("torchvision").requires or []
    except PackageNotFoundError:
        return ""
    for text in required:
        if match := re.match(r"torch ?\(?==([\d.]+)", text):
            return match[1]
    return ""


def _build(version: str) -> str:
    """The device that a version names: 2.4.1+cu121 is cu121; the index's own builds name none."""
    return version.partition("+")[2] or "the default index's"


def _torchvision_for(torch: str) -> str:
    """The torchvision of the same build as a torch: arguments for pip."""
    major, minor, *patch = parse_version(torch)
    build = torch.partition("+")[2]
    index = f" --index-url {INDEX}/{build}" if re.fullmatch(r"cpu|cu\d+", build) else ""
    if major != 2:  # torch 2.0 came with torchvision 0.15, and both count on in step
        return f"torchvision{index}"
    number = f"0.{minor + 15}.{patch[0] if patch else 0}"
    return f"torchvision=={number}{index}"

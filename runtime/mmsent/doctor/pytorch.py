"""PyTorch and torchvision: whether they match each other, the driver and the GPUs, and work."""

import os
import re
import sys

from mmsent.doctor import installed
from mmsent.doctor.finding import Group, listed
from mmsent.doctor.installed import (
    INDEX,
    TRAINING,
    build_index,
    parse_version,
    reinstall,
    version_of,
)
from mmsent.doctor.nvidia import DRIVER_LIBRARIES, MINIMUM_DRIVER, TRAINS_ON_CPU, Driver
from mmsent.doctor.process import RETRY, ProbeResult
from mmsent.doctor.system import System

IMAGE_FOR_NEW_GPUS = "docker build -f Dockerfile.cuda --build-arg CUDA=12.8 -t mmsent-cuda ."
"""Builds the image for compute capability 10.0 and later."""

_CUDA_ERRORS = {
    "802": "sudo systemctl start nvidia-fabricmanager  # GPUs joined by NVSwitch need it, in the "
    "driver's exact version",
    "803": "sudo reboot  # the driver's library and its kernel module have different versions",
    "804": "unset LD_LIBRARY_PATH, or take the folder cuda/compat out of it: its driver library is "
    "for other GPUs",
    "34": "take the folder of the stub libcuda.so (…/stubs) out of LD_LIBRARY_PATH",
    "999": "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm  # needed after a suspend",
}
"""Fixes on Linux for errors of CUDA's initialisation with unhelpful messages: cudaError_t."""


def check_torch(
    torch: ProbeResult | None, libraries: ProbeResult, driver: Driver, system: System
) -> Group:
    """Evaluate the probe of PyTorch; ``torch`` is None if training is not installed."""
    group = Group("PyTorch", stops=("train",))
    shell = system.shell
    if torch is None:
        fix = f"{shell.pip('install', TRAINING)}  # only to train"
        group.not_applicable("training-not-installed", f"{TRAINING} is not installed", fix=fix)
        return group
    facts = group.facts = torch.facts | {"stderr": torch.stderr}
    version = facts.get("version") or version_of("torch")
    if version is None:
        fix = shell.pip("install", *_packages(driver, system))
        group.failure("torch-missing", "torch is not installed", f"{TRAINING} requires it", fix)
        return group
    if error := facts.get("import_error"):
        what, fix = f"torch {version} can't be imported", reinstall(shell, "torch")
        if "LD_LIBRARY_PATH" in os.environ and re.search(r"undefined symbol|\.so", error):
            fix = shell.unset("LD_LIBRARY_PATH")
            fix += "  # its libraries shadow those of torch"
        group.failure("torch-import-fails", what, error.splitlines()[0], fix)
        return group
    if "version" in facts:
        built = f"CUDA {facts['cuda']}" if facts["cuda"] else "the CPU only"
        built = f"ROCm {facts['hip']}" if facts.get("hip") else built
        group.ok("torch", f"torch {version}, built for {built}")
    if torch.done:
        _check_result(group, "the CPU", facts["cpu"]["float32"], system)
    elif torch.hung:
        group.failure("torch-hangs", f"PyTorch {torch.end}", torch.reason, RETRY)
    else:
        fix = reinstall(shell, "torch")
        group.failure("torch-crashes", f"PyTorch {torch.end}", torch.reason, fix)
    if facts.get("available"):
        _check_gpus(group, driver, system)
    elif "available" in facts:
        _explain_no_gpu(group, driver, system)
    _check_torchvision(group, version, libraries, system)
    return group


def _packages(driver: Driver, system: System) -> list[str]:
    """Arguments of pip to install a PyTorch that supports this driver's GPUs.

    For Windows, the default index has only CPU builds.
    """
    cuda = parse_version(driver.cuda)
    newest = max((parse_version(gpu.capability) for gpu in driver.gpus), default=())
    current, pinned = ["torch", "torchvision"], ["torch==2.4.1", "torchvision==0.19.1"]
    if not driver.gpus:
        return current
    if cuda >= (13,):
        return [*current, *(["--index-url", f"{INDEX}/cu130"] if system.windows else [])]
    if cuda and cuda < (12,):
        return [*pinned, "--index-url", f"{INDEX}/cu118"]
    if newest >= (10,) or sys.version_info >= (3, 13):  # torch 2.4.1 supports neither
        return [*current, "--index-url", f"{INDEX}/cu128"]
    # The default index's last pair for CUDA 12.1, on Linux.
    return [*pinned, *(["--index-url", f"{INDEX}/cu121"] if system.windows else [])]


def _check_result(group: Group, device: str, result: str, system: System) -> bool:
    """Whether a device computes correctly in single precision."""
    if result == "wrong":
        what = f"PyTorch computes wrong results on {device}"
        why = "a small matrix product and a convolution differ from their exact values"
        fix = "for a GPU, upgrade its driver and reboot; otherwise the hardware is faulty"
        group.failure("torch-wrong-result", what, why, fix)
    elif result != "right":
        fix = "free the GPU's memory if it is full (nvidia-smi lists the processes); otherwise "
        fix += f"reboot, and {reinstall(system.shell, 'torch')}"
        group.failure("torch-kernel-fails", f"PyTorch can't compute on {device}", result, fix)
    return result == "right"


def _check_gpus(group: Group, driver: Driver, system: System) -> None:
    facts = group.facts
    for index, device in enumerate(facts.get("devices", [])):
        name, capability = f"GPU {index} ({device['name']})", device["capability"]
        results: dict[str, str] = device["results"]
        half = [kind for kind in ("bfloat16", "float16") if results[kind] != "right"]
        if not _built_for(capability, facts["architectures"]):
            build = f"torch {facts['version']}"
            what = f"{build} is not built for {name}, compute capability {capability}"
            why = f"it is built for {listed(facts['architectures'])}; training would fail there"
            fix = system.shell.pip("install", "--force-reinstall", *_packages(driver, system))
            if parse_version(capability) >= (10,) and (system.root / "opt/mmsent/lock").is_dir():
                fix = IMAGE_FOR_NEW_GPUS  # in an image of ours, which has no pip
            fix += "  # until then: mmsent train --device cpu"
            group.failure("torch-gpu-architecture", what, why, fix)
        elif not _check_result(group, name, results["float32"], system):
            continue
        elif half:
            what = f"{name} computes correctly, but not in {listed(half)}"
            why = f"{half[0]}: {results[half[0]]}; training on it requires single precision"
            fix = "upgrade the driver and torch; only compute capability 8.0 and later has bfloat16"
            group.warning("torch-half-precision", what, why, fix)
        else:
            group.ok("torch-gpu", f"{name} computes correctly in fp32, bf16 and fp16")
    shown, count = facts["count"], len(driver.gpus)
    selected = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown < count and selected is not None:
        what = f"PyTorch sees {shown} of {count} GPUs: CUDA_VISIBLE_DEVICES is {selected!r}"
        group.ok("torch-gpus-selected", what)


def _built_for(capability: str, architectures: list[str]) -> bool:
    """Whether a build supports a GPU: of the same major version; with PTX, of any later version.

    Returns True if the list can't be parsed; then the kernels show it.
    """
    gpu = parse_version(capability)
    built = re.findall(r"\b(sm|compute)_(\d+)(\d)\b", " ".join(architectures))
    return not built or any(
        (int(major), int(minor)) <= gpu and (kind == "compute" or int(major) == gpu[0])
        for kind, major, minor in built
    )


def _explain_no_gpu(group: Group, driver: Driver, system: System) -> None:
    """Report why PyTorch sees no GPU. Of several causes, report the one to fix first."""
    facts = group.facts
    cuda = facts["cuda"]
    shell = system.shell
    install = shell.pip("install", "--force-reinstall", *_packages(driver, system))
    names = listed(gpu.name for gpu in driver.gpus)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not driver.gpus:
        why = "see NVIDIA, above" if cuda and driver.present else ""
        group.not_applicable("torch-no-gpu", f"no GPU for PyTorch: {TRAINS_ON_CPU}", why)
    elif not cuda:
        what = f"torch {facts['version']} is built for the CPU only; this machine has {names}"
        group.warning("torch-cpu-build", what, TRAINS_ON_CPU, install)
    elif _too_old(driver, cuda, system):
        minimum = MINIMUM_DRIVER.get(parse_version(cuda)[0])
        newer = f"{minimum} or newer" if minimum and not system.windows else "a newer one"
        what = f"NVIDIA driver {driver.version} is too old for CUDA {cuda}"
        why = f"torch is built for CUDA {cuda}, which requires driver {newer}; "
        fix = f"upgrade the driver to {newer}, or install a torch for this driver: "
        group.warning("torch-driver-too-old", what, why + TRAINS_ON_CPU, fix + install)
    elif hidden is not None:
        what = f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU: {names}"
        group.warning("torch-gpus-hidden", what, TRAINS_ON_CPU, shell.unset("CUDA_VISIBLE_DEVICES"))
    else:
        message = facts.get("init_error") or " ".join(facts["complaints"])
        number = re.search(r"Error (\d+)", message)
        fix = shell.reboot
        if system.windows:
            fix += "  # if that doesn't help, reinstall NVIDIA's driver"
        elif "Found no NVIDIA driver" in message:  # nvidia-smi did: libcuda.so.1 is missing
            fix = f"{DRIVER_LIBRARIES}  # outside a container, reinstall the driver's libcuda.so.1"
        elif number:
            fix = _CUDA_ERRORS.get(number[1], fix)
        what = f"nvidia-smi lists {names}, but PyTorch can't use the GPU"
        why = message.partition("\n")[0] or "PyTorch gives no reason"
        group.warning("torch-gpu-unavailable", what, why, fix)


def _too_old(driver: Driver, cuda: str, system: System) -> bool:
    minimum = MINIMUM_DRIVER.get(parse_version(cuda)[0])
    if not system.windows and minimum and driver.version:
        return parse_version(driver.version) < parse_version(minimum)
    # The version numbers of other systems' drivers differ.
    return bool(driver.cuda) and parse_version(driver.cuda)[0] < parse_version(cuda)[0]


def _check_torchvision(group: Group, torch: str, libraries: ProbeResult, system: System) -> None:
    version = version_of("torchvision")
    if version is None:
        return  # the group Libraries reports that
    error: str = libraries.facts.get("errors", {}).get("torchvision", "")
    message = error.partition("\n")[0]
    required = [each for each in installed.requirements("torchvision") if each.name == "torch"]
    # The device in a version: 2.4.1+cu121 is cu121; the default index's builds name none.
    builds = [each.partition("+")[2] or "the default index's" for each in (torch, version)]
    mismatch, force = "", ("install", "--force-reinstall", "--no-deps")
    if required and not required[0].admits(torch):
        mismatch = f"it was built for torch {required[0].bound}"
    elif error and ("torchvision::nms" in error or builds[0] != builds[1]):
        mismatch = f"they are builds for different devices: {listed(builds)}"
    if mismatch:
        what = f"torchvision {version} does not match torch {torch}"
        why = mismatch + (f"; importing it fails: {message}" if error else "")
        fix = system.shell.pip(*force, *_torchvision_for(torch))
        group.failure("torchvision-mismatch", what, why, fix)
    elif error:
        what = f"torchvision {version} can't be imported"
        fix = reinstall(system.shell, "torchvision", "--no-deps")
        group.failure("torchvision-import-fails", what, message, fix)
    else:
        group.ok("torchvision", f"torchvision {version} matches torch {torch}")


def _torchvision_for(torch: str) -> list[str]:
    """Arguments of pip for the torchvision that matches a torch build."""
    major, minor, *patch = parse_version(torch)
    # torch 2.0 matches torchvision 0.15, 2.1 matches 0.16, and so on.
    pin = f"==0.{minor + 15}.{patch[0] if patch else 0}" if major == 2 else ""
    return [f"torchvision{pin}", *build_index(torch)]

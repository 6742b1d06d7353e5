"""The NVIDIA driver: what nvidia-smi reports, or why it fails."""

import re
import shutil
from dataclasses import dataclass

from mmsent.doctor.finding import Group
from mmsent.doctor.installed import parse_version
from mmsent.doctor.process import ProbeResult
from mmsent.doctor.system import System

MINIMUM_DRIVER: dict[int, str] = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The oldest Linux driver that supports all minor versions of a CUDA major version.

From "CUDA Toolkit Release Notes", table "CUDA Toolkit and Minimum Required Driver Version for CUDA
Minor Version Compatibility", and "CUDA Compatibility", section "Minor Version Compatibility"
(docs.nvidia.com/cuda/cuda-toolkit-release-notes, docs.nvidia.com/deploy/cuda-compatibility).
"""

TRAINS_ON_CPU = "training uses the CPU"

ALL_GPUS = "docker run --gpus all …"
DRIVER_LIBRARIES = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …"
"""Gives a container nvidia-smi and libcuda."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi lists it; 0 and "" for values that the driver does not report."""

    index: int
    name: str
    memory_mib: int
    capability: str

    def __str__(self) -> str:
        parts = [f"GPU {self.index}: {self.name}"]
        parts += [f"{self.memory_mib / 1024:.0f} GiB"] if self.memory_mib else []
        parts += [f"compute capability {self.capability}"] if self.capability else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver; without ``gpus`` if it does not answer.

    ``version``: of the driver. ``cuda``: the newest CUDA version that it supports. Both are "" if
    unknown. ``present``: whether this machine, or this container's host, has an NVIDIA GPU.
    """

    present: bool
    version: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()


def nvidia_smi(system: System) -> str | None:
    """The path of nvidia-smi, or None if it is missing."""
    wsl = system.root / "usr/lib/wsl/lib"  # not on every shell's PATH
    return shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=str(wsl))


def check_nvidia(probe: ProbeResult | None, system: System) -> tuple[Group, Driver]:
    """Evaluate the probe of nvidia-smi. If it is None, look for the hardware instead."""
    group = Group("NVIDIA", facts=probe.facts if probe else {"nvidia_smi": "not found"})
    if probe is None:
        return group, Driver(present=_check_without_nvidia_smi(group, system))
    output: str = probe.facts.get("output", probe.reason)
    gpus, version = _parse(output) if probe.facts.get("exit_status") == 0 else ((), "")
    if not gpus:
        _explain(group, probe.hung, output, system)
        absent = "No devices were found" in output and not system.has_nvidia_hardware
        return group, Driver(present=not absent)
    found = re.search(r"CUDA(?: UMD)? Version\s*:\s*([\d.]+)", probe.facts.get("table", ""))
    cuda = found[1] if found else ""
    group.ok("nvidia-driver", f"driver {version}" + (f", for CUDA up to {cuda}" if cuda else ""))
    for gpu in gpus:
        group.ok("nvidia-gpu", str(gpu))
    return group, Driver(True, version, cuda, gpus)


def _parse(listing: str) -> tuple[tuple[Gpu, ...], str]:
    """Parse nvidia-smi's list: the GPUs and the driver's version."""
    gpus = []
    version = ""
    for line in listing.splitlines():
        index, *values = (value.strip() for value in line.split(","))
        if index.isdigit() and len(values) >= 3:
            name, memory, version, capability = (*values, "")[:4]
            memory_mib = int(memory) if memory.isdigit() else 0  # "[N/A]" on shared memory
            known = capability if parse_version(capability) else ""
            gpus.append(Gpu(int(index), name, memory_mib, known))
    return tuple(gpus), version


def _check_without_nvidia_smi(group: Group, system: System) -> bool:
    """Whether there is an NVIDIA GPU although nvidia-smi is missing."""
    container, hardware = system.in_container, system.has_nvidia_hardware
    loaded = _loaded_driver(system)
    if loaded:
        what = f"driver {loaded} is loaded, but nvidia-smi is missing"
        why = "it reports the driver and the GPUs; PyTorch may find them without it"
        fix = "put the folder of nvidia-smi on PATH, or install the driver's utilities"
        group.warning("nvidia-smi-missing", what, why, DRIVER_LIBRARIES if container else fix)
    elif hardware and container:
        what = "the host has an NVIDIA GPU, but this container was started without it"
        fix = f"{ALL_GPUS}  # podman run --device nvidia.com/gpu=all …; the host needs the NVIDIA "
        fix += "Container Toolkit"
        group.warning("nvidia-gpu-not-in-container", what, TRAINS_ON_CPU, fix)
    elif hardware:
        what = "this machine has an NVIDIA GPU, but no driver for it"
        group.warning("nvidia-driver-missing", what, TRAINS_ON_CPU, _install_driver(system))
    elif container:
        why = "if the host has one, the container was started without it"
        group.not_applicable("nvidia-none", "no NVIDIA GPU in this container", why, ALL_GPUS)
    elif system.windows:  # there, only nvidia-smi, which comes with the driver, finds a GPU
        fix = f"if there is one: {_install_driver(system)}"
        group.not_applicable("nvidia-none", "no NVIDIA GPU with a driver", fix=fix)
    else:
        group.not_applicable("nvidia-none", "no NVIDIA GPU in this machine")
    return bool(loaded) or hardware


def _loaded_driver(system: System) -> str:
    """The version of the driver that the kernel has loaded, or "" if there is none."""
    loaded = system.read("proc/driver/nvidia/version")
    version = re.search(r"\d{3}\.[\d.]+", loaded)
    return version[0] if version else loaded and "of unknown version"


def _install_driver(system: System) -> str:
    release = system.read("etc/os-release").splitlines()
    if "ID=ubuntu" in release:
        return "sudo ubuntu-drivers install && sudo reboot"
    if "ID=debian" in release:
        return "sudo apt-get install nvidia-driver && sudo reboot  # from contrib and non-free"
    return "install NVIDIA's driver for this GPU, and reboot"


def _explain(group: Group, hung: bool, text: str, system: System) -> None:
    """Report why nvidia-smi lists no GPU, based on its output."""
    container, shell = system.in_container, system.shell
    message = text.partition("\n")[0].strip() or "no output"
    if hung:
        why = "the driver is stuck, so everything that uses the GPU will hang"
        fix = f"{shell.reboot}  # before that, `{shell.gpu_log}` shows why"
        group.warning("nvidia-smi-hangs", "nvidia-smi does not answer", why, fix)
    elif "version mismatch" in text:
        library = re.search(r"NVML library version:\s*([\d.]+)", text)
        loaded = _loaded_driver(system) or "of another version"
        what = f"the kernel runs the NVIDIA driver {loaded}, not the one that is installed"
        what += f", {library[1]}" if library else ""
        why = f"nvidia-smi: {message}; {TRAINS_ON_CPU}"
        fix = f"{shell.reboot}  # the host, if this is a container"
        group.warning("nvidia-driver-mismatch", what, why, fix)
    elif "No devices were found" in text:
        why = f"the GPU failed to start, or a virtual machine is using it; {TRAINS_ON_CPU}"
        fix = ALL_GPUS if container else f"{shell.gpu_log}  # shows what failed; reboot"
        group.warning("nvidia-no-devices", "the NVIDIA driver runs, but finds no GPU", why, fix)
    elif "couldn't communicate with the NVIDIA driver" in text:
        what = "the NVIDIA driver is installed, but does not run"
        why = f"its kernel module is not loaded, often after an upgrade; {TRAINS_ON_CPU}"
        fix = _install_driver(system)
        if not system.windows:
            load = "sudo modprobe nvidia  # if that fails, reinstall the driver for this kernel: "
            fix = load + fix
        group.warning("nvidia-driver-not-loaded", what, why, fix)
    elif "Unknown Error" in text and container:
        why = f"nvidia-smi: {message}; a systemd reload on the host causes that; {TRAINS_ON_CPU}"
        fix = "docker restart CONTAINER  # to keep them: docker run --gpus all --device "
        fix += "/dev/nvidia0 --device /dev/nvidiactl --device /dev/nvidia-uvm …"
        group.warning("nvidia-lost-in-container", "this container has lost its GPUs", why, fix)
    else:
        fix = (
            f"{shell.reboot}  # if it still fails, reinstall the driver: {_install_driver(system)}"
        )
        group.warning("nvidia-smi-fails", f"nvidia-smi fails: {message}", TRAINS_ON_CPU, fix)

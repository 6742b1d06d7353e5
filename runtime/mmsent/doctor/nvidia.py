"""The NVIDIA driver: what nvidia-smi says, or why it says nothing."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from mmsent.doctor.child import Answer, ask
from mmsent.doctor.finding import Finding, Group, not_applicable, ok, warning
from mmsent.doctor.system import System
from mmsent.doctor.version import parse_version

MINIMUM_DRIVER: dict[int, str] = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The oldest Linux driver that runs programs built for any version of a CUDA major version.

From "CUDA Toolkit Release Notes", table "CUDA Toolkit and Minimum Required Driver Version for CUDA
Minor Version Compatibility", and "CUDA Compatibility", section "Minor Version Compatibility"
(docs.nvidia.com/cuda/cuda-toolkit-release-notes, docs.nvidia.com/deploy/cuda-compatibility).
"""

TOOLKIT_DRIVER: dict[str, str] = {
    "11.8": "520.61.05",
    "12.0": "525.60.13",
    "12.1": "530.30.02",
    "12.2": "535.54.03",
    "12.3": "545.23.06",
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.9": "575.51.03",
    "13.0": "580.65.06",
    "13.1": "590.44.01",
    "13.2": "595.45.04",
}
"""The Linux driver that a CUDA version came with: from it on, nothing of that CUDA is missing.

From the same release notes, table "CUDA Toolkit and Corresponding Driver Versions"; first releases.
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi lists it; None where the driver does not tell."""

    index: int
    name: str
    memory_mib: int | None
    capability: str | None


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver as far as it answers: ``gpus`` is empty where it does not.

    ``version`` is its own and ``cuda`` the newest CUDA that it supports; "" where unknown.
    ``present``: there is an NVIDIA GPU here, or in the host of this container.
    """

    present: bool
    version: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()


def examine_nvidia(system: System, limit: float) -> tuple[Group, Driver]:
    """Ask nvidia-smi; where there is none, look for the hardware."""
    program = shutil.which("nvidia-smi")
    if program is None and system.exists("usr/lib/wsl/lib/nvidia-smi"):
        program = str(system.root / "usr/lib/wsl/lib/nvidia-smi")  # not on every shell's PATH
    if program is None:
        finding, present = _without_nvidia_smi(system)
        return Group("NVIDIA", [finding], {"nvidia-smi": "not found"}), Driver(present)
    try:
        answer = _query(program, limit)
    except OSError as error:
        answer = Answer(127, "", f"{program}: {error.strerror}")
    facts = {"nvidia-smi": program, "exit status": answer.code, "says": answer.text}
    gpus, version = _parse(answer)
    if not gpus:
        absent = "No devices were found" in answer.text and not system.has_nvidia_hardware
        return Group("NVIDIA", [_fault(answer, system)], facts), Driver(not absent)
    table = ask([program], limit)  # no query tells the CUDA version
    facts["table"] = table.text
    cuda = re.search(r"CUDA(?: UMD)? Version\s*:\s*([\d.]+)", table.output)
    driver = Driver(True, version, cuda[1] if cuda else "", gpus)
    supports = f", for CUDA up to {driver.cuda}" if driver.cuda else ""
    findings = [ok("nvidia-driver", f"driver {driver.version}{supports}")]
    findings += [ok("nvidia-gpu", _describe(gpu)) for gpu in gpus]
    return Group("NVIDIA", findings, facts), driver


def _query(program: str, limit: float) -> Answer:
    fields = "index,name,memory.total,driver_version,compute_cap"
    form = "--format=csv,noheader,nounits"
    answer = ask([program, f"--query-gpu={fields}", form], limit)
    if answer.code not in (0, None) and "not a valid field" in answer.text:
        # Drivers before 510 don't know compute_cap.
        answer = ask([program, f"--query-gpu={fields.removesuffix(',compute_cap')}", form], limit)
    return answer


def _parse(answer: Answer) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs of a query's answer and the version of their driver; none and "" of a complaint."""
    gpus = []
    version = ""
    for line in answer.output.splitlines() if answer.code == 0 else ():
        index, *values = (value.strip() for value in line.split(","))
        if index.isdigit() and len(values) >= 3:
            name, memory, version, capability = (*values, "")[:4]
            gpus.append(
                Gpu(
                    int(index),
                    name,
                    int(memory) if memory.isdigit() else None,  # "[N/A]" on shared memory
                    capability if parse_version(capability) else None,
                )
            )
    return tuple(gpus), version


def _describe(gpu: Gpu) -> str:
    parts = [f"GPU {gpu.index}: {gpu.name}"]
    if gpu.memory_mib:
        parts.append(f"{gpu.memory_mib / 1024:.0f} GiB")
    if gpu.capability:
        parts.append(f"compute capability {gpu.capability}")
    return ", ".join(parts)


def _without_nvidia_smi(system: System) -> tuple[Finding, bool]:
    """The finding, and whether there is an NVIDIA GPU all the same."""
    if version := system.read("proc/driver/nvidia/version"):
        number = re.search(r"\d{3}\.[\d.]+", version)
        mend = (
            "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …"
            if system.in_container
            else "put the folder of nvidia-smi on PATH, or install the driver's utilities"
        )
        return warning(
            "nvidia-smi-missing",
            f"driver {number[0] if number else 'of unknown version'} is loaded, but nvidia-smi is "
            "not to be found",
            why="it tells of the driver and the GPUs; PyTorch may find them all the same",
            mend=mend,
        ), True
    if system.has_nvidia_hardware and system.in_container:
        return warning(
            "nvidia-gpu-not-in-container",
            "the host has an NVIDIA GPU, but this container was not given it",
            why="training takes the CPU",
            mend="docker run --gpus all …  # podman run --device nvidia.com/gpu=all …; the host "
            "needs the NVIDIA Container Toolkit",
        ), True
    if system.has_nvidia_hardware:
        return warning(
            "nvidia-driver-missing",
            "this machine has an NVIDIA GPU, but no driver for it",
            why="training takes the CPU",
            mend=_install_driver(system),
        ), True
    if system.in_container:
        return not_applicable(
            "nvidia-none",
            "no NVIDIA GPU in this container",
            why="if the host has one, the container was started without it",
            mend="docker run --gpus all …",
        ), False
    return not_applicable("nvidia-none", "no NVIDIA GPU in this machine"), False


def _install_driver(system: System) -> str:
    release = system.read("etc/os-release")
    if re.search(r"^ID=ubuntu$", release, re.MULTILINE):
        return "sudo ubuntu-drivers install && sudo reboot"
    if re.search(r"^ID=debian$", release, re.MULTILINE):
        return (
            "sudo apt-get install nvidia-driver && sudo reboot  "
            "# from Debian's components contrib and non-free"
        )
    return "install the driver that NVIDIA offers for this GPU, and reboot"


def _fault(answer: Answer, system: System) -> Finding:
    """What is wrong where nvidia-smi lists no GPU."""
    why = "training takes the CPU"
    if answer.code is None:
        return warning(
            "nvidia-smi-hangs",
            "nvidia-smi does not answer",
            why="the driver is stuck, and whatever uses the GPU will be, too",
            mend="sudo reboot  # before that, `sudo dmesg | grep -i -e xid -e nvrm` says why",
        )
    said = next((line.strip() for line in answer.text.splitlines() if line.strip()), "nothing")
    if "version mismatch" in answer.text:
        library = re.search(r"NVML library version:\s*([\d.]+)", answer.text)
        loaded = re.search(r"\d{3}\.[\d.]+", system.read("proc/driver/nvidia/version"))
        versions = f": {loaded[0]} is loaded" if loaded else ""
        versions += f"{', ' if versions else ': '}{library[1]} is installed" if library else ""
        return warning(
            "nvidia-driver-mismatch",
            f"the NVIDIA driver was upgraded, but the kernel still runs the old one{versions}",
            why=f"nvidia-smi: {said}; {why}",
            mend="sudo reboot  # the host, if this is a container",
        )
    if "No devices were found" in answer.text:
        return warning(
            "nvidia-no-devices",
            "the NVIDIA driver runs, but finds no GPU",
            why=f"the GPU failed to start, or is held by a virtual machine; {why}",
            mend="docker run --gpus all …"
            if system.in_container
            else "sudo dmesg | grep -i nvrm  # says what failed; then sudo reboot",
        )
    if "couldn't communicate with the NVIDIA driver" in answer.text:
        return warning(
            "nvidia-driver-not-loaded",
            "the NVIDIA driver is installed, but does not run",
            why=f"its kernel module is not loaded, often after an upgrade of the kernel; {why}",
            mend="sudo modprobe nvidia  # if that fails, install the driver again for this kernel: "
            f"{_install_driver(system)}",
        )
    if "Unknown Error" in answer.text and system.in_container:
        return warning(
            "nvidia-lost-in-container",
            "this container has lost its GPUs",
            why=f"nvidia-smi: {said}; a reload of the host's systemd takes them away; {why}",
            mend="docker restart CONTAINER  # to keep them: docker run --gpus all "
            "--device /dev/nvidia0 --device /dev/nvidiactl --device /dev/nvidia-uvm …",
        )
    return warning(
        "nvidia-smi-fails",
        f"nvidia-smi fails: {said}",
        why=why,
        mend=f"sudo reboot  # if it fails again, install it anew: {_install_driver(system)}",
    )

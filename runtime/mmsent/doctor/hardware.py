"""The machine: cores, instruction sets, memory, disk and shared memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from mmsent.clip_pin import WEIGHTS_SIZE
from mmsent.doctor.clip import cache_folder
from mmsent.doctor.finding import Finding, Group, not_applicable, ok, warning
from mmsent.doctor.system import System
from mmsent.files.machine import available_cores

GIB = 1 << 30

MEMORY_FOR_CLIP = 4 * GIB
"""The weights, their gradients and Adam's two moments are four times 0.6 GB; then the libraries and
the activations of a batch."""

DISK_FOR_A_RUN = 2 * GIB
"""A run of CLIP and its bundle are 0.6 GB each, and each is written beside its old one first."""

SHARED_FOR_LOADING = 512 << 20
"""Four loading processes with two batches of 32 images each, as 32-bit floats, are 150 MB; the
texts, a greater batch and the GPU's libraries take more."""

_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "int8 matrix product",
    "bf16": "bf16",
    "sve": "SVE",
}
"""What speeds inference up, by the names in /proc/cpuinfo; the second half is ARM's."""


def examine_hardware(system: System) -> Group:
    """Look at what training and inference use of the machine."""
    flags = _flags(system)
    total, available, limit = _memory(system)
    group = Group(
        "Machine",
        facts={
            "cores": available_cores(),
            "all cores": os.cpu_count(),
            "processor": _cpuinfo(system, "model name") or platform.processor(),
            "instructions": [name for name in _INSTRUCTIONS if name in flags],
            "memory": {"total": total, "available": available, "cgroup limit": limit},
            "container": system.in_container,
        },
    )
    cores = available_cores()
    group.findings += [
        ok("cores", f"{cores} {'core' if cores == 1 else 'cores'}"),
        _instructions(flags),
        _judge_memory(total, available, limit, system),
    ]
    group.findings += _disks(group, system)
    if (system.root / "dev/shm").is_dir():
        group.findings.append(_shared(group, system))
    return group


def _cpuinfo(system: System, *keys: str) -> str:
    for line in system.read("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _flags(system: System) -> list[str]:
    return _cpuinfo(system, "flags", "Features").split()


def _instructions(flags: list[str]) -> Finding:
    if not flags:
        return not_applicable("cpu", "the processor's instruction sets can't be read here")
    names = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    if "avx2" not in flags and "asimd" not in flags:
        return warning(
            "cpu-without-avx2",
            "the processor has no AVX2",
            why="inference and training on the CPU are several times slower than elsewhere",
            mend="if this is a virtual machine, give it the host's processor (QEMU: -cpu host); "
            "else another machine",
        )
    return ok("cpu", f"{', '.join(names)}")


def _memory(system: System) -> tuple[int, int, int | None]:
    """Total and available memory, and the cgroup's limit or None, in bytes; 0 where unknown."""
    sizes = {}
    for line in system.read("proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if value.split()[1:] == ["kB"]:
            sizes[name] = int(value.split()[0]) << 10
    if not sizes and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes["MemTotal"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = sizes.get("MemTotal", 0)
    limit = min(_limits(system), default=None)
    if limit is not None and total and limit >= total:
        limit = None
    return total, sizes.get("MemAvailable", total), limit


def _limits(system: System) -> list[int]:
    """The memory limits of this process's cgroups, its own and those above it, of both versions."""
    files = []
    for line in system.read("proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = "sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup"
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        inner = Path(path.lstrip("/"))
        files += [f"{folder}/{part}/{name}" for part in (inner, *inner.parents)]
    values = (system.read(file) for file in files)
    return [int(value) for value in values if value.isdigit()]


def _judge_memory(total: int, available: int, limit: int | None, system: System) -> Finding:
    if not total:
        return not_applicable("memory", "the memory can't be read here")
    usable = min(total, limit or total)
    text = f"{total / GIB:.1f} GiB of memory, {available / GIB:.1f} available"
    if limit is not None:
        text += f"; the cgroup limits this process to {limit / GIB:.1f}"
    if usable >= MEMORY_FOR_CLIP:
        return ok("memory", text)
    limited = limit is not None and total >= MEMORY_FOR_CLIP
    mend = "mmsent train --batch-size 4 --accumulation 4  # or a machine with more memory"
    if limited:
        mend = "docker run --memory 8g …"
        if not system.in_container:
            mend = "systemd-run --user --scope -p MemoryMax=8G mmsent train …"
    return warning(
        "memory-small",
        text,
        why=f"training CLIP takes about {MEMORY_FOR_CLIP / GIB:.0f} GiB; the kernel kills what "
        "takes more than there is, without a message",
        mend=mend,
    )


def _disks(group: Group, system: System) -> list[Finding]:
    """The disks of the working folder, for runs and bundles, and of the hub's cache."""
    cache = cache_folder()
    while not cache.exists():
        cache = cache.parent
    findings = []
    for name, folder, needed in (
        ("the working folder", Path.cwd(), DISK_FOR_A_RUN),
        ("the hub's cache", cache, 2 * WEIGHTS_SIZE),
    ):
        _, free = system.space(folder)
        group.facts[f"free disk of {name}"] = free
        if free < needed:
            findings.append(
                warning(
                    "disk-full",
                    f"{free / GIB:.1f} GiB free on the disk of {name}",
                    why=f"training CLIP writes up to {needed / GIB:.1f} GiB there",
                    mend="du -xh --max-depth=2 ~ | sort -h | tail  # shows what takes it"
                    if name == "the working folder"
                    else "export HF_HOME=FOLDER  # on another disk",
                )
            )
    if not findings:
        free = group.facts["free disk of the working folder"]
        findings.append(ok("disk", f"{free / GIB:.0f} GiB free on the disk of the working folder"))
    return findings


def _shared(group: Group, system: System) -> Finding:
    size, free = system.space(system.root / "dev/shm")
    group.facts["shared memory"] = {"size": size, "free": free}
    if free >= SHARED_FOR_LOADING:
        return ok("shared-memory", f"{free / GIB:.1f} GiB of shared memory free")
    return warning(
        "shared-memory-small",
        f"/dev/shm has {free >> 20} MiB free of {size >> 20}",
        why="processes that load data pass batches through it, and die with a bus error when it is "
        "full",
        mend="docker run --shm-size 1g …  # Kubernetes: an emptyDir of medium Memory at /dev/shm"
        if system.in_container
        else "sudo mount -o remount,size=1g /dev/shm  # or remove what fills it",
    )

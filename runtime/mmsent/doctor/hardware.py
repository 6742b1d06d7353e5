"""The machine: cores, instruction sets, memory, disk and shared memory."""

import os
import platform
import re
from pathlib import Path

from mmsent.clip_pin import WEIGHTS_SIZE
from mmsent.doctor.clip import cache_folder
from mmsent.doctor.finding import Group, listed
from mmsent.doctor.system import System
from mmsent.files.machine import available_cores, memory_limit

GIB = 1 << 30

MEMORY_FOR_CLIP = 4 * GIB
"""Weights, gradients and Adam's two moments take four times 0.6 GB. The libraries and a batch's
activations need the rest."""

DISK_FOR_A_RUN = 2 * GIB
"""A run of CLIP and its bundle take 0.6 GB each; each is written before the old one is deleted."""

SHARED_FOR_LOADING = 512 << 20
"""Four loading processes with two batches of 32 images each, as 32-bit floats, are 150 MB; the
texts, a larger batch and the GPU's libraries take more."""

_INSTRUCTIONS = """
    avx2 avx512f avx_vnni avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16
    asimd asimddp i8mm bf16 sve
""".split()
"""Instruction sets that speed up inference, as in /proc/cpuinfo: first x86, then ARM."""


def check_hardware(system: System) -> Group:
    """Check the hardware that training and inference use."""
    group = Group("Machine")
    cores = available_cores(system.root)
    group.facts |= {"cores": cores, "all cores": os.cpu_count(), "container": system.in_container}
    group.ok("cores", f"{cores} {'core' if cores == 1 else 'cores'}")
    _check_cpu(group, system)
    _check_memory(group, system)
    _check_disks(group, system)
    if (system.root / "dev/shm").is_dir():
        _check_shared_memory(group, system)
    return group


def _check_cpu(group: Group, system: System) -> None:
    cpuinfo = system.read("proc/cpuinfo")  # one entry per core, all alike
    model = re.search(r"^model name\s*: (.*)", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)", cpuinfo, re.MULTILINE)
    found = [name for name in _INSTRUCTIONS if flags and name in flags[1].split()]
    group.facts["processor"] = model[1] if model else platform.processor()
    if not flags:
        group.not_applicable("cpu", "the processor's instruction sets are unknown on this system")
    elif "avx2" in found or "asimd" in found:
        group.ok("cpu", f"the processor has {listed(found)}")
    else:
        why = "inference and training on this CPU are several times slower"
        fix = "in a virtual machine, expose the host's processor (QEMU: -cpu host)"
        group.warning("cpu-without-avx2", "the processor has no AVX2", why, fix)


def _check_memory(group: Group, system: System) -> None:
    meminfo = system.read("proc/meminfo")
    sizes = {name: int(kib) << 10 for name, kib in re.findall(r"(\w+): +(\d+) kB", meminfo)}
    if not sizes and "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # macOS
        sizes["MemTotal"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = sizes.get("MemTotal", 0)
    available = sizes.get("MemAvailable", total)
    limit = memory_limit(system.root)
    usable = min(total, limit or total)
    group.facts["memory"] = {"total": total, "available": available, "cgroup limit": limit}
    what = f"{total / GIB:.1f} GiB of memory, {available / GIB:.1f} available"
    if usable < total:
        what += f"; the cgroup limits this process to {usable / GIB:.1f}"
    if not total:
        group.not_applicable("memory", "the size of the memory is unknown on this system")
    elif usable >= MEMORY_FOR_CLIP:
        group.ok("memory", what)
    else:
        why = f"training CLIP takes about {MEMORY_FOR_CLIP / GIB:.0f} GiB; the kernel kills a "
        why += "process that runs out of memory, without a message"
        fix = "mmsent train --batch-size 4 --gradient-accumulation-steps 4"
        if total >= MEMORY_FOR_CLIP:  # only the limit is small
            fix = "systemd-run --user --scope -p MemoryMax=8G mmsent train …"
            fix = "docker run --memory 8g …" if system.in_container else fix
        group.warning("memory-small", what, why, fix)


def _check_disks(group: Group, system: System) -> None:
    """Check the disk of the working folder, for runs and bundles, and that of the hub's cache."""
    cache = cache_folder()
    while not cache.exists():
        cache = cache.parent
    usage = system.shell.largest_folders
    other = f"{system.shell.set('HF_HOME', 'FOLDER')}  # on another disk"
    for name, folder, needed, fix in (
        ("the working folder", Path.cwd(), DISK_FOR_A_RUN, usage),
        ("the hub's cache", cache, 2 * WEIGHTS_SIZE, other),
    ):
        _, _, free = system.usage(folder)
        group.facts[f"free disk of {name}"] = free
        what = f"{free / GIB:.1f} GiB free on the disk of {name}"
        if free >= needed:
            group.ok("disk", what)
        else:
            why = f"training CLIP writes up to {needed / GIB:.1f} GiB there"
            group.warning("disk-full", what, why, fix)


def _check_shared_memory(group: Group, system: System) -> None:
    size, _, free = system.usage(system.root / "dev/shm")
    group.facts["shared memory"] = {"size": size, "free": free}
    if free >= SHARED_FOR_LOADING:
        group.ok("shared-memory", f"{free / GIB:.1f} GiB of shared memory free")
        return
    what = f"/dev/shm has {free >> 20} MiB free of {size >> 20}"
    why = "data-loading processes pass batches through it, and crash when it is full"
    fix = "sudo mount -o remount,size=1g /dev/shm  # or delete what fills it"
    if system.in_container:
        fix = "docker run --shm-size 1g …  # Kubernetes: an emptyDir of medium Memory at /dev/shm"
    group.warning("shared-memory-small", what, why, fix)

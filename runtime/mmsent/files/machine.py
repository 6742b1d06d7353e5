"""The cores and memory that this process may use."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def available_cores(root: Path = ROOT) -> int:
    """The cores that this process may use, by its CPU affinity and its cgroups' quotas."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    shares = [
        int(quota) / int(period)
        for quota, period in _limits(root, "cpu", "cpu.max", "cpu.cfs_quota_us cpu.cfs_period_us")
        if int(period)
    ]
    return min(cores, max(1, round(min(shares, default=cores))))


def memory_limit(root: Path = ROOT) -> int | None:
    """The memory limit of this process's cgroups in bytes, or None if there is none."""
    limits = _limits(root, "memory", "memory.max", "memory.limit_in_bytes")
    return min((int(limit) for (limit,) in limits), default=None)


def _limits(root: Path, controller: str, v2: str, v1: str) -> Iterator[list[str]]:
    """The limits of this process's cgroups (v1, v2) and their parents.

    ``v2`` and ``v1`` name the files; "max" and -1 mean no limit. A container may see the host's
    path of its cgroup, of which only the end exists inside; missing files mean no limit.
    """
    groups = re.findall(r"^\d+:([^:\n]*):/(.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    for controllers, path in groups:
        if controllers and controller not in controllers.split(","):
            continue
        mounts, files = (controllers, controller), v1.split()
        if not controllers:  # version 2 names none; next to version 1, it is in "unified"
            mounts, files = (".", "unified"), [v2]
        places = (PurePosixPath(path), *PurePosixPath(path).parents)
        for folder in {
            root / "sys/fs/cgroup" / mount / place for mount in mounts for place in places
        }:
            numbers = " ".join(_read(folder / file) for file in files).split()
            if numbers and all(number.isdigit() for number in numbers):
                yield numbers


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

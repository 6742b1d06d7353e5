"""What this process may use of the machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def available_cores(root: Path = ROOT) -> int:
    """Cores this process may run on: its CPU affinity, limited by its cgroups' quotas."""
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
    """The memory that this process's cgroups leave it, in bytes; None: all there is."""
    limits = _limits(root, "memory", "memory.max", "memory.limit_in_bytes")
    return min((int(limit) for (limit,) in limits), default=None)


def _limits(root: Path, controller: str, v2: str, v1: str) -> Iterator[list[str]]:
    """The numbers that limit this process: those of its cgroups (v1, v2) and their parents.

    ``v2`` and ``v1`` name the files; "max" and -1 are no limits. A container may see the path of
    its cgroup on the host, of which it has but the end: what is not there limits nothing.
    """
    groups = re.findall(r"^\d+:([^:\n]*):/(.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    for controllers, path in groups:
        if controllers and controller not in controllers.split(","):
            continue
        mounts, files = (controllers, controller), v1.split()
        if not controllers:  # version 2 names none; together with version 1 it is in "unified"
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

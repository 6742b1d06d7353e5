"""Where the doctor reads what the machine has, so that a test can put another machine there."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PIP = f"{shlex.quote(sys.executable)} -m pip"
"""The pip of this very interpreter, whatever `pip` on PATH belongs to."""


def disk_space(path: Path) -> tuple[int, int]:
    """Size of the file system that holds ``path``, and what is free of it, in bytes."""
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass(frozen=True)
class System:
    """The machine: the files under ``root``, and the sizes of its file systems."""

    root: Path = Path("/")
    space: Callable[[Path], tuple[int, int]] = disk_space

    def read(self, path: str) -> str:
        """The text of a file below the root, stripped; empty where it can't be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder below the root."""
        return (self.root / path).exists()

    @property
    def in_container(self) -> bool:
        """Whether this runs in a container of Docker, Podman, Kubernetes or LXC."""
        return (
            self.exists(".dockerenv")
            or self.exists("run/.containerenv")
            or "KUBERNETES_SERVICE_HOST" in os.environ
            or "container" in os.environ
        )

    @property
    def has_nvidia_hardware(self) -> bool:
        """Whether an NVIDIA GPU is on the PCI bus; in a container, on that of its host."""
        for device in (self.root / "sys/bus/pci/devices").glob("*"):
            vendor = self.read(f"sys/bus/pci/devices/{device.name}/vendor")
            kind = self.read(f"sys/bus/pci/devices/{device.name}/class")
            # 0x10de is NVIDIA; class 0x03 are display controllers: not the GPU's audio device.
            if vendor == "0x10de" and kind.startswith("0x03"):
                return True
        return False

"""The machine as files and sizes, so that tests can replace it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmsent.doctor.shell import Shell


@dataclass(frozen=True)
class System:
    """The machine: its files under ``root``, its disk usage, and whether it is Windows.

    ``usage`` returns the size, used and free bytes of the file system of a path.
    """

    root: Path = Path("/")
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    windows: bool = os.name == "nt"

    def read(self, path: str) -> str:
        """The text of a file under the root, stripped; empty if it can't be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    @property
    def shell(self) -> Shell:
        """The shell in which a user of this system runs the fixes."""
        return Shell(powershell=self.windows)

    @property
    def in_container(self) -> bool:
        """Whether this process runs in a Docker, Podman, Kubernetes or LXC container."""
        files = (self.root / ".dockerenv", self.root / "run/.containerenv")
        variables = {"KUBERNETES_SERVICE_HOST", "container"}
        return any(file.exists() for file in files) or not variables.isdisjoint(os.environ)

    @property
    def has_nvidia_hardware(self) -> bool:
        """Whether an NVIDIA GPU is on the PCI bus, which a container shares with its host."""
        # Vendor 0x10de is NVIDIA; class 0x03 is a display controller, not the GPU's audio device.
        devices = "sys/bus/pci/devices"
        return any(
            self.read(f"{devices}/{device.name}/vendor") == "0x10de"
            and self.read(f"{devices}/{device.name}/class").startswith("0x03")
            for device in (self.root / devices).glob("*")
        )

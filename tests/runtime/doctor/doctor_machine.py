"""A machine for the doctor: fake programs, libraries and files replace this machine's."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmsent.cli import cli
from mmsent.doctor.system import System

IMITATIONS = Path(__file__).parent / "imitations"

# Variables of the developer's machine must not affect a test.
VARIABLES = """
    VIRTUAL_ENV CONDA_PREFIX CUDA_VISIBLE_DEVICES KMP_DUPLICATE_LIB_OK LD_LIBRARY_PATH HF_HOME
    HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME HF_ENDPOINT HF_HUB_OFFLINE
    TRANSFORMERS_OFFLINE KUBERNETES_SERVICE_HOST container NO_COLOR
""".split()


@dataclass
class Result:
    """What the command printed, and its exit code."""

    code: int
    output: str
    report: dict[str, Any] = field(default_factory=dict)

    def ids(self, status: str) -> list[str]:
        """The ids of the findings with this status."""
        return [found["id"] for found in self.report["findings"] if found["status"] == status]

    def finding(self, id: str) -> dict[str, Any]:
        """The one finding with this id."""
        findings: list[dict[str, Any]] = self.report["findings"]
        found = [finding for finding in findings if finding["id"] == id]
        assert len(found) == 1, (id, self.ids("warning"), self.ids("failure"))
        return found[0]


class Machine:
    """A machine with fake libraries, which tests configure."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.root, self.site, self.programs = (
            folder / name for name in ("root", "site-packages", "bin")
        )
        for path in (self.root, self.site, self.programs):
            path.mkdir()
        self.sizes: dict[str, tuple[int, int]] = {}
        self.windows = False
        self.file("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\n")
        self.file("proc/cpuinfo", "model name : Imitated\nflags : fpu avx2 avx512f avx512_vnni\n")
        (self.root / "dev/shm").mkdir(parents=True)
        monkeypatch.syspath_prepend(str(self.site))
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")
        monkeypatch.setenv("HOME", str(folder / "home"))
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)

    def set(self, **variables: str) -> None:
        """Set environment variables."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def file(self, path: str, text: str) -> None:
        """Write a file below the root that the doctor reads."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def program(self, name: str, script: str) -> None:
        """Put a shell script on PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def library(
        self,
        module: str,
        source: str = "",
        *,
        name: str = "",
        version: str,
        needs: Sequence[str] = (),
    ) -> None:
        """Install a library of one module; ``name`` is its distribution."""
        (self.site / f"{module}.py").write_text(source)
        self.distribution(name or module, version, needs)

    def distribution(self, name: str, version: str, needs: Sequence[str] = ()) -> None:
        """Install the metadata of a distribution."""
        self.remove(name)
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {need}" for need in needs]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    def remove(self, name: str) -> None:
        """Remove the metadata of a distribution."""
        for old in self.site.glob(f"{name.replace('-', '_')}-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()

    def torch(self, *, version: str = "2.4.1+cu121", **settings: Any) -> None:
        """Install the fake PyTorch."""
        source = (IMITATIONS / "torch.py").read_text()
        self.library("torch", source, version=version)
        self.set(IMITATED_TORCH=json.dumps({"version": version, **settings}))

    def onnxruntime(self, *, real: bool = False) -> None:
        """Install the fake ONNX Runtime, or keep the real one."""
        if real:
            (self.site / "onnxruntime.py").unlink()
            self.remove("onnxruntime")
        else:
            source = (IMITATIONS / "onnxruntime.py").read_text()
            self.library("onnxruntime", source, version="1.26.0")

    def torchvision(self, version: str, *, torch: str, source: str = "") -> None:
        """Install a torchvision that was built for a version of torch."""
        self.library("torchvision", source, version=version, needs=[f"torch (=={torch})"])

    def usage(self, path: Path) -> tuple[int, int, int]:
        """Size, used and free space of the file system, as set by the test."""
        found = (sizes for part, sizes in self.sizes.items() if str(path).endswith(part))
        size, free = next(found, (100 << 30, 50 << 30))
        return size, size - free, free

    def doctor(self, *arguments: str) -> Result:
        """Run `mmsent doctor --json` on this machine."""
        result = self.run("--json", *arguments)
        result.report = json.loads(result.output)
        return result

    def run(self, *arguments: str) -> Result:
        """Run `mmsent doctor` on this machine, with its output for people."""
        system = System(self.root, self.usage, self.windows)
        done = CliRunner().invoke(cli, ["doctor", *arguments], obj=system, catch_exceptions=False)
        return Result(done.exit_code, done.stdout)


TRAINING_NEEDS = """
    matplotlib>=3.8 msgspec>=0.20 pandas>=2.2 safetensors>=0.4.5 scikit-learn>=1.5 torch>=2.4
    torchvision>=0.19 transformers>=4.57
""".split()

GPUS = [{"name": "NVIDIA A100-SXM4-80GB", "capability": "8.0"}] * 2
"""What PyTorch sees of the two GPUs below."""

BANNER = """\
Tue Jan 14 10:01:02 2025
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver:<23}Driver Version: {driver:<15}CUDA Version: {cuda:<9}|
|-----------------------------------------+------------------------+----------------------+
"""

NvidiaSmi = Callable[..., None]

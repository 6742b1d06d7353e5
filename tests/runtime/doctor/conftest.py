"""Machines in various states of health."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from doctor_machine import BANNER, TRAINING_NEEDS, Machine, NvidiaSmi

from mmsent import __version__


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A healthy machine without a GPU, with training installed."""
    machine = Machine(tmp_path, monkeypatch)
    machine.torch()
    machine.onnxruntime()
    machine.torchvision("0.19.1+cu121", torch="2.4.1")
    machine.library("transformers", "CLIPModel = None", version="4.57.6")
    machine.library("sklearn", name="scikit-learn", version="1.9.1")
    for name, version in (
        ("msgspec", "0.22.0"),
        ("matplotlib", "3.11.2"),
        ("pandas", "3.1.1"),
        ("safetensors", "0.8.0"),
        ("onnx", "1.23.2"),
    ):
        machine.library(name, version=version)
    # These may be missing if the tests run from the sources.
    training, export = [f"mmsent=={__version__}"], [f"mmsent-training=={__version__}"]
    machine.distribution("mmsent-training", __version__, [*training, *TRAINING_NEEDS])
    machine.distribution("mmsent-export", __version__, [*export, "onnx>=1.16"])
    return machine


@pytest.fixture
def nvidia_smi(machine: Machine) -> NvidiaSmi:
    """Puts an nvidia-smi on PATH that prints what the real one does."""

    def install(
        *,
        driver: str = "535.161.08",
        cuda: str = "12.2",
        gpus: Sequence[str] = (
            "0, NVIDIA A100-SXM4-80GB, 81920, {driver}, 8.0",
            "1, NVIDIA A100-SXM4-80GB, 81920, {driver}, 8.0",
        ),
    ) -> None:
        banner = machine.folder / "banner"
        banner.write_text(BANNER.format(driver=driver, cuda=cuda))
        query = machine.folder / "query"
        query.write_text("".join(f"{gpu.format(driver=driver)}\n" for gpu in gpus))
        machine.program(
            "nvidia-smi",
            f'case "$*" in *--query-gpu*) cat {query};; *) cat {banner};; esac',
        )

    return install


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder

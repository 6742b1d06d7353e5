"""Libraries compared with the distributions' requirements, and the runtime on its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
import tomllib
from doctor_machine import Machine

from mmsent import __version__
from mmsent.doctor.installed import PARTS, modules, requirements

SOURCES = Path(__file__).parents[3]


def test_a_library_below_its_range(machine: Machine) -> None:
    machine.library("pandas", version="1.5.3")
    result = machine.doctor()
    found = result.finding("library-version")
    assert found["what"] == "pandas 1.5.3 is not in the range that mmsent-training requires"
    assert found["fix"].endswith("-m pip install 'pandas>=2.2'")
    assert result.code == 1


def test_a_distribution_of_another_version(machine: Machine) -> None:
    machine.distribution("mmsent-export", "0.0.9", ["mmsent-training==0.0.9"])
    result = machine.doctor()
    assert result.finding("mmsent-versions-differ")["what"] == (
        f"mmsent-export is 0.0.9, but mmsent-training is {__version__}"
    )
    assert result.code == 1


def test_a_library_that_cannot_be_imported(machine: Machine) -> None:
    error = "numpy.dtype size changed, may indicate binary incompatibility"
    machine.library("pandas", f"raise ValueError({error!r})", version="3.1.1")
    result = machine.doctor()
    assert error in result.finding("library-import-fails")["why"]
    assert result.report["can"] == {"train": None, "train_clip": None, "predict": "cpu", "gpus": 0}


def test_an_unreadable_requirement_is_not_ignored(machine: Machine) -> None:
    machine.distribution("mmsent-export", __version__, ["onnx~=1.16; python_version > '3'"])
    assert "onnx~=1.16" in machine.doctor().finding("library-requirement-unread")["what"]


@pytest.mark.parametrize("part", ["runtime", "training", "export"])
def test_all_our_requirements_are_read(machine: Machine, part: str) -> None:
    project = tomllib.loads((SOURCES / part / "pyproject.toml").read_text())["project"]
    machine.distribution(project["name"], project["version"], project["dependencies"])
    read = requirements(project["name"])
    assert [str(one) for one in read] == project["dependencies"]
    assert all(one.understood for one in read)


def test_the_module_of_every_required_library_is_known() -> None:
    """All of them are installed for the tests."""
    assert [name for name in modules([*PARTS]) if not find_spec(name)] == []


@pytest.fixture(scope="module")
def light_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the runtime, its dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    installed = Path(sysconfig.get_path("platlib"))
    names = """
        numpy onnxruntime pillow PIL tokenizers click tqdm packaging flatbuffers google protobuf
        huggingface_hub mmsent-
    """.split()
    for path in installed.iterdir():
        if any(path.name == n or path.name.startswith((f"{n}-", f"{n}.")) for n in names):
            (site / path.name).symlink_to(path)
    (site / "mmsent").symlink_to(SOURCES / "runtime/mmsent")
    distribution = site / f"mmsent-{__version__}.dist-info"
    if not any(site.glob("mmsent-*.dist-info")):
        distribution.mkdir()
        project = tomllib.loads((SOURCES / "runtime/pyproject.toml").read_text())["project"]
        lines = ["Metadata-Version: 2.1", "Name: mmsent", f"Version: {__version__}"]
        lines += [f"Requires-Dist: {need}" for need in project["dependencies"]]
        (distribution / "METADATA").write_text("\n".join(lines) + "\n")
    return folder


def _run(environment: Path) -> tuple[int, dict[str, object]]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "from mmsent.cli import main; main()"
    done = subprocess.run(
        [environment / "bin/python", "-c", code, "doctor", "--json"],
        capture_output=True,
        env=variables,
        text=True,
    )
    return done.returncode, json.loads(done.stdout)


def test_the_runtime_alone(light_environment: Path) -> None:
    code, report = _run(light_environment)
    statuses = {found["id"]: found["status"] for found in report["findings"]}  # type: ignore[attr-defined]
    assert statuses["training-not-installed"] == "not applicable"
    assert statuses["clip-not-needed"] == "not applicable"
    assert statuses["onnxruntime-provider"] == "ok"
    assert "predict on the CPU" in str(report["summary"])
    assert code == 0


def test_a_library_that_is_not_installed(light_environment: Path) -> None:
    (site,) = light_environment.glob("lib/python*/site-packages")
    (tqdm,) = site.glob("tqdm-*.dist-info")
    target = tqdm.readlink()
    tqdm.unlink()
    try:
        code, report = _run(light_environment)
    finally:
        tqdm.symlink_to(target)
    missing = [f for f in report["findings"] if f["id"] == "library-missing"]  # type: ignore[attr-defined]
    assert [found["what"] for found in missing] == ["tqdm is not installed"]
    assert code == 1


def test_training_without_torch(light_environment: Path) -> None:
    (site,) = light_environment.glob("lib/python*/site-packages")
    training = site / f"mmsent_training-{__version__}.dist-info"
    training.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: mmsent-training\nVersion: {__version__}\n"
    (training / "METADATA").write_text(metadata + "Requires-Dist: torch>=2.4\n")
    try:
        code, report = _run(light_environment)
    finally:
        shutil.rmtree(training)
    failures = [f["id"] for f in report["findings"] if f["status"] == "failure"]  # type: ignore[attr-defined]
    assert failures == ["torch-missing"]
    assert code == 1


@pytest.fixture(scope="module")
def real_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with a real torch, in whichever build pip chooses."""
    folder = tmp_path_factory.mktemp("real")
    venv.create(folder, with_pip=True, symlinks=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "torch==2.13.0", "numpy", "pillow", "click", "tqdm"], check=True)
    subprocess.run([*pip, "--no-deps", SOURCES / "runtime", SOURCES / "training"], check=True)
    return folder


@pytest.mark.installs
@pytest.mark.parametrize("version", ["0.27.0", "0.28.0"])
def test_a_real_torchvision_mismatch(real_environment: Path, version: str) -> None:
    """One for another torch, and the default index's, which matches unless torch is CPU-only."""
    pip = [real_environment / "bin/python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", f"torchvision=={version}"], check=True)
    _, report = _run(real_environment)
    findings = {found["id"]: found for found in report["findings"]}  # type: ignore[attr-defined]
    if version == "0.28.0" and "CPU alone" not in findings["torch"]["what"]:
        pytest.skip("pip took a torch for CUDA, which this torchvision fits")
    found = findings["torchvision-mismatch"]
    assert f"torchvision {version} does not match torch 2.13.0" in found["what"]
    assert "importing it fails" in found["why"]
    assert "torchvision==0.28.0" in found["fix"]

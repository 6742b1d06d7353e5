"""Which Python runs: `conda run`, and a PATH with another environment first."""

from __future__ import annotations

import sys
from pathlib import Path

from doctor_machine import Machine


def _environment(folder: Path, *programs: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    for program in programs:
        (folder / "bin" / program).touch()
    return folder


def test_another_python_than_the_active_conda_environments(
    machine: Machine, tmp_path: Path
) -> None:
    active = _environment(tmp_path / "envs/mmsent", "python")
    machine.set(CONDA_PREFIX=str(active))
    result = machine.doctor()
    found = result.finding("python-not-the-active-environment")
    assert found["what"] == (
        f"CONDA_PREFIX names the environment {active}, but {sys.executable} runs"
    )
    assert found["fix"] == f"{active}/bin/python -m pip install mmsent"
    assert result.code == 0


def test_mmsent_is_also_in_the_active_environment(machine: Machine, tmp_path: Path) -> None:
    active = _environment(tmp_path / "venv", "python", "mmsent")
    machine.set(VIRTUAL_ENV=str(active))
    found = machine.doctor().finding("python-not-the-active-environment")
    assert found["fix"].startswith(f"{active}/bin/mmsent doctor")


def test_an_active_environment_that_was_deleted(machine: Machine, tmp_path: Path) -> None:
    machine.set(VIRTUAL_ENV=str(tmp_path / "removed"))
    found = machine.doctor().finding("python-not-the-active-environment")
    assert found["fix"].startswith("unset VIRTUAL_ENV")


def test_the_running_environment_is_the_active_one(machine: Machine) -> None:
    machine.set(VIRTUAL_ENV=sys.prefix)
    assert "python-not-the-active-environment" not in machine.doctor().ids("warning")


def test_a_virtual_environment_within_conda_is_the_active_one(
    machine: Machine, tmp_path: Path
) -> None:
    conda = _environment(tmp_path / "conda", "python")
    machine.set(
        CONDA_PREFIX=str(conda),
        VIRTUAL_ENV=sys.prefix,
        PATH=f"{sys.prefix}/bin:{conda}/bin:{machine.programs}:/usr/bin:/bin",
    )
    assert "python-not-the-active-environment" not in machine.doctor().ids("warning")

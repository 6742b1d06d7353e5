"""Two OpenMP runtimes in one process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from doctor_machine import Machine

ERROR_15 = """\
OMP: Error #15: Initializing libiomp5.so, but found libomp.so already initialized.
OMP: Hint This means that multiple copies of the OpenMP runtime have been linked into the program.
"""


@pytest.mark.slow
def test_an_abort_with_error_15_is_a_finding(machine: Machine) -> None:
    """A fake abort; the slow test below has a real one."""
    source = f"import os, sys; sys.stderr.write({ERROR_15!r}); sys.stderr.flush(); os.abort()"
    machine.library("sklearn", source, name="scikit-learn", version="1.9.1")
    result = machine.doctor()
    found = result.finding("openmp-abort")
    assert "importing sklearn" in found["what"]
    assert "libomp.so already initialized" in found["why"]
    assert "one source" in found["fix"]
    assert result.code == 1


def load_twice(machine: Machine, folder: Path) -> None:
    """Load any shared libraries under these names: the doctor only looks at the names."""
    any_library = next(Path(np.__file__).parent.glob("linalg/*.so"))
    for module, name in (("pandas", "libomp.so.5"), ("sklearn", "libiomp5.so")):
        copy = shutil.copy(any_library, folder / name)
        source = f"import ctypes; ctypes.CDLL({str(copy)!r})"
        distribution = {"sklearn": "scikit-learn"}.get(module, module)
        machine.library(module, source, name=distribution, version="3.0")


def test_two_loaded_runtimes_of_one_family(machine: Machine, tmp_path: Path) -> None:
    load_twice(machine, tmp_path)
    found = machine.doctor().finding("openmp-duplicates")
    assert f"{tmp_path}/libomp.so.5 (by pandas)" in found["what"]
    assert f"{tmp_path}/libiomp5.so (by sklearn)" in found["what"]
    assert found["status"] == "warning"


def test_allowing_duplicates_is_a_warning_if_there_are_any(
    machine: Machine, tmp_path: Path
) -> None:
    machine.set(KMP_DUPLICATE_LIB_OK="TRUE")
    alone = machine.doctor().finding("openmp-duplicates-allowed")
    assert alone["status"] == "ok"
    assert "has no effect" in alone["what"]
    load_twice(machine, tmp_path)
    found = machine.doctor().finding("openmp-duplicates-allowed")
    assert found["status"] == "warning"
    assert "compute wrong results" in found["why"]
    assert found["fix"].startswith("unset KMP_DUPLICATE_LIB_OK")


def test_allowing_duplicates_is_a_warning_if_the_libraries_crash(machine: Machine) -> None:
    machine.set(KMP_DUPLICATE_LIB_OK="TRUE")
    machine.library("pandas", "import os; os.abort()", version="3.1.1")
    assert machine.doctor().finding("openmp-duplicates-allowed")["status"] == "warning"


def test_libraries_that_crash_together(machine: Machine) -> None:
    machine.library("pandas", "import os; os.abort()", version="3.1.1")
    result = machine.doctor()
    assert "SIGABRT (importing pandas)" in result.finding("libraries-crash")["what"]
    assert result.code == 1


@pytest.mark.slow
def test_libraries_that_hang_together(machine: Machine) -> None:
    machine.library("pandas", "import time; time.sleep(321)", version="3.1.1")
    result = machine.doctor("--time-limit", "3")
    assert "importing pandas" in result.finding("libraries-hang")["what"]


@pytest.fixture(scope="module")
def intel_openmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Intel's OpenMP runtime from its package."""
    folder = tmp_path_factory.mktemp("intel-openmp")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", str(folder), "intel-openmp"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/libiomp5.so"))
        return Path(archive.extract(name, folder))


@pytest.mark.installs
@pytest.mark.parametrize("allowed", [False, True])
def test_two_real_runtimes(
    machine: Machine, intel_openmp: Path, tmp_path: Path, allowed: bool
) -> None:
    """Two libraries that each ship Intel's runtime, as MKL and a wheel do."""
    if allowed:
        machine.set(KMP_DUPLICATE_LIB_OK="TRUE")
    for module in ("pandas", "msgspec"):
        folder = tmp_path / module
        folder.mkdir()
        copy = shutil.copy(intel_openmp, folder)
        source = f"import ctypes; ctypes.CDLL({str(copy)!r}).omp_get_max_threads()"
        machine.library(module, source, version="3.1.1")
    result = machine.doctor()
    if allowed:
        assert "2 OpenMP runtimes" in result.finding("openmp-duplicates")["what"]
        assert "openmp-duplicates-allowed" in result.ids("warning")
    else:
        found = result.finding("openmp-abort")
        assert "libiomp5.so already initialized" in found["why"]
        assert f"{tmp_path}/msgspec/libiomp5.so (by msgspec)" in found["why"]
        assert "importing pandas" in found["what"]
        assert result.code == 1

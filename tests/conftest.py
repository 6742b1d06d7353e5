"""Data and a trained run that the tests share; everything is made here, small and synthetic."""

import os
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from .command import Command, command

# No example has to be fast: a machine may have other work.
hypothesis.settings.register_profile("mmsent", deadline=None, max_examples=40)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=200)
hypothesis.settings.load_profile("mmsent")

# Torch processes with two spinning threads each bring a 2-core machine to a halt.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell that starts the tests in the background lets them ignore SIGINT, and what they start
# would inherit that: a handler of their own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured, in characters that pytest-xdist can send: a path need not be UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def run_command() -> Command:
    return command


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Fills a folder once for all of pytest-xdist's workers, and gives it to each.

    The folder has a name that no other has; what is in it is not to be changed.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # a worker's own folder lies in the session's

    def make_once(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = base / "shared" / name, base / "shared" / f"{name}.filled"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed here
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make_once


def draw(make_once: MakeOnce, name: str, pairs: int) -> Path:
    """A synthetic dataset folder with so many labelled pairs, drawn once."""

    def fill(folder: Path) -> None:
        result = command("mmsent", "sample-data", "dataset", "--pairs", pairs, cwd=folder)
        assert result.code == 0, result.err

    return make_once(name, fill) / "dataset"


@pytest.fixture(scope="session")
def sample(make_once: MakeOnce) -> Path:
    """A synthetic dataset folder: 80 labelled and 10 unlabelled pairs. Not to be changed."""
    return draw(make_once, "sample", 80)


@pytest.fixture(scope="session")
def few(make_once: MakeOnce) -> Path:
    """30 labelled pairs: for trainings that only have to go through. Not to be changed."""
    return draw(make_once, "few", 30)


@pytest.fixture(scope="session")
def trained(sample: Path, make_once: MakeOnce) -> Path:
    """The run of a short training on the sample, by the command. Not to be changed."""
    pytest.importorskip("mmsent_training", reason="the runtime alone is installed")

    def fill(folder: Path) -> None:
        result = command(
            "mmsent", "train", "--model", "light", "--epochs", 2, "--data", sample,
            "--output", folder / "run", cwd=folder, pictures=True,
        )  # fmt: skip
        assert result.code == 0, result.err

    return make_once("trained", fill) / "run"


@pytest.fixture(scope="session")
def bundle(trained: Path, make_once: MakeOnce) -> Path:
    """The bundle of the short training. Not to be changed."""
    pytest.importorskip("mmsent_export", reason="the runtime alone is installed")

    def fill(folder: Path) -> None:
        output = folder / "model.onnx"
        result = command("mmsent-export", "onnx", trained, "--output", output, cwd=folder)
        assert result.code == 0, result.err

    return make_once("bundle", fill) / "model.onnx"

"""Small synthetic data and a trained run that tests share."""

import os
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from .command import Command, command

# No deadline for an example: the machine may be busy.
hypothesis.settings.register_profile("mmsent", deadline=None, max_examples=40)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=200)
hypothesis.settings.load_profile("mmsent")

# Several torch processes with two spinning threads each bring a 2-core machine to a halt.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell that starts the tests in the background makes them ignore SIGINT, and child processes
# would inherit that. A handler is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace captured characters that pytest-xdist can't send: paths need not be UTF-8."""
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
    """Return a function that fills a folder once for all pytest-xdist workers.

    Each folder needs a unique name, and tests must not change its contents.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker's folder is inside the session's

    def make_once(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = base / "shared" / name, base / "shared" / f"{name}.filled"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a worker that failed here
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make_once


def draw(make_once: MakeOnce, name: str, pairs: int) -> Path:
    """Return a synthetic dataset folder with ``pairs`` labelled pairs, generated once."""

    def fill(folder: Path) -> None:
        result = command("mmsent", "sample-data", "dataset", "--pairs", pairs, cwd=folder)
        assert result.code == 0, result.err

    return make_once(name, fill) / "dataset"


@pytest.fixture(scope="session")
def sample(make_once: MakeOnce) -> Path:
    """A synthetic dataset folder: 80 labelled and 10 unlabelled pairs. Read-only."""
    return draw(make_once, "sample", 80)


@pytest.fixture(scope="session")
def few(make_once: MakeOnce) -> Path:
    """30 labelled pairs, for trainings whose result does not matter. Read-only."""
    return draw(make_once, "few", 30)


@pytest.fixture(scope="session")
def trained(sample: Path, make_once: MakeOnce) -> Path:
    """The run of a short `mmsent train` on the sample. Read-only."""
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
    """The bundle of the short training. Read-only."""
    pytest.importorskip("mmsent_export", reason="the runtime alone is installed")

    def fill(folder: Path) -> None:
        output = folder / "model.onnx"
        result = command("mmsent-export", "onnx", trained, "--output", output, cwd=folder)
        assert result.code == 0, result.err

    return make_once("bundle", fill) / "model.onnx"

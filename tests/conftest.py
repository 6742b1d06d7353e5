"""Data and a trained run that the tests share; everything is made here, small and synthetic."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from mmsent import cli
from mmsent_export.cli import export

# Torch processes with two spinning threads each bring a 2-core machine to a halt.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell that starts the tests in the background lets them ignore SIGINT, and what they start
# would inherit that: a handler of their own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAMS = {"mmsent": cli.cli, "mmsent-infer": cli.infer, "mmsent-export": export}


@dataclass(frozen=True)
class Result:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


def command(
    *arguments: object, cwd: Path, env: dict[str, str] | None = None, fresh: bool = False
) -> Result:
    """Run a command as a user would; in this process, which has the heavy imports behind it.

    With ``fresh``, run the console script in a process of its own: for what is read at import.
    """
    program, *rest = (str(argument) for argument in arguments)
    env = env or {}
    if fresh:
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *rest],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", [program, *rest]),
        pytest.raises(SystemExit) as end,
    ):
        cli.run(PROGRAMS[program])
    code = end.value.code
    return Result(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Result]:
    return command


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic dataset folder: 80 labelled and 10 unlabelled pairs. Not to be changed."""
    folder = tmp_path_factory.mktemp("sample") / "dataset"
    result = command("mmsent", "sample-data", folder, "--pairs", 80, cwd=folder.parent)
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="session")
def trained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a short training on the sample, by the command."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = command(
        "mmsent", "train", "--model", "light", "--epochs", 2, "--data", sample,
        "--output", folder, cwd=folder.parent,
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="session")
def bundle(trained: Path) -> Path:
    """The bundle of the short training."""
    path = trained.parent / "model.onnx"
    result = command("mmsent-export", "onnx", trained, "--output", path, cwd=trained.parent)
    assert result.code == 0, result.err
    return path

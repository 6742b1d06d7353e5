"""The commands, run as a user would run them."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest import mock

import click
import pytest

from mmsent import cli
from mmsent.predict.cli import infer


def find_program(name: str) -> click.Command:
    """The click command of a console script; the exporter may not be installed."""
    if name == "mmsent-export":
        from mmsent_export.cli import export

        return export
    return {"mmsent": cli.cli, "mmsent-infer": infer}[name]


@dataclass(frozen=True)
class Result:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


TRAININGS = {"train", "ablate", "cross-validate"}


@contextlib.contextmanager
def undrawn() -> Generator[None, None, None]:
    """Write empty picture files: drawing takes as long as a short training."""
    with mock.patch(
        "matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch()
    ):
        yield


def command(
    *arguments: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    fresh: bool = False,
    pictures: bool = False,
) -> Result:
    """Run a command as a user would, in this process, where the heavy imports are already done.

    ``fresh`` runs the console script in a separate process, for settings that are read at import.
    Pictures are drawn only with ``pictures``; otherwise their files are empty.
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
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", [program, *rest]),
        undrawn() if not pictures and TRAININGS & {*rest[:1]} else contextlib.nullcontext(),
    ):
        patch.chdir(cwd)
        with pytest.raises(SystemExit) as end:
            cli.run(find_program(program))
    code = end.value.code
    return Result(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


class Command(Protocol):
    """The type of `command`, for tests that take it as a fixture."""

    def __call__(
        self,
        *arguments: object,
        cwd: Path,
        env: dict[str, str] | None = None,
        fresh: bool = False,
        pictures: bool = False,
    ) -> Result: ...

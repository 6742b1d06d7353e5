"""Fixtures that find and download checkpoints from a local hub.

Code that uses the hub runs in separate processes, with the environment variables that a user would
set: huggingface_hub reads them when it is imported.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from huggingface_hub import constants

from mmsent.errors import MmsentError
from mmsent_training.weights.hub import find_clip

from .hub import NAME, Files, Hub, checkpoint

FIND = """
import dataclasses, json, sys
from mmsent.cli import run
from mmsent_training.weights.hub import find_clip
{before}
def find():
    found = find_clip(sys.argv[1])
    print(json.dumps(dataclasses.asdict(found), default=str))
run(find)
"""
COMMAND = """
import logging
from mmsent.cli import run
from mmsent_training.cli import download_clip
logging.basicConfig(level=logging.INFO)
run(download_clip)
"""


@dataclass(frozen=True)
class Result:
    """A process's output and exit code."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


class Process:
    """A separate process with its own hub cache."""

    def __init__(self, folder: Path, hub: Hub | str, code: str, *arguments: str, **env: str):
        # This process's own settings of the hub must not be inherited.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        endpoint = hub if isinstance(hub, str) else hub.endpoint
        own = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": endpoint, "NO_PROXY": "*"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=clean | own | env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def wait(self) -> Result:
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Result(self.process.returncode, out, err)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Start(Protocol):
    """Starts a process."""

    def __call__(self, hub: Hub | str, code: str, *arguments: str, **env: str) -> Process: ...


@pytest.fixture
def make_hub() -> Iterator[Callable[..., Hub]]:
    with ExitStack() as hubs:

        def make_hub(files: Files, **named: Any) -> Hub:
            return hubs.enter_context(closing(Hub(files, **named)))

        yield make_hub


@pytest.fixture
def hub(make_hub: Callable[..., Hub]) -> Hub:
    return make_hub(checkpoint())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as processes:

        def start(hub: Hub | str, code: str, *arguments: str, **env: str) -> Process:
            process = Process(tmp_path, hub, code, *arguments, **env)
            return processes.enter_context(closing(process))

        yield start


@pytest.fixture
def find(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Finds a checkpoint, in this process if nothing may be downloaded."""

    def find(
        hub: Hub | str, name: str = NAME, *, fetch: bool = True, before: str = "", **env: str
    ) -> Result:
        if fetch:
            return start(hub, FIND.format(before=before), name, **env).wait()
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
            asked = [] if isinstance(hub, str) else [*hub.requests]
            try:
                found = json.dumps(asdict(find_clip(name, fetch=False)), default=str)
                return Result(0, found, "")
            except MmsentError as error:
                return Result(error.exit_code, "", f"Error: {error}\n")
            finally:
                assert isinstance(hub, str) or hub.requests == asked

    return find


@pytest.fixture
def download(start: Start) -> Callable[..., Result]:
    def download(hub: Hub | str, *arguments: str, name: str = NAME, **env: str) -> Result:
        return start(hub, COMMAND, "--clip", name, *arguments, **env).wait()

    return download

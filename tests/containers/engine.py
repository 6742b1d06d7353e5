"""The container engine of the tests: docker or podman, whichever works here."""

import os
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = "debian:bookworm-slim"
USER = 12345  # known to neither the images nor the host


@dataclass(frozen=True)
class Result:
    """What a container printed and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Engine:
    """Docker or podman."""

    program: str

    def ask(self, *arguments: object) -> Result:
        """Run one of the engine's commands."""
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def tell(self, *arguments: object) -> str:
        """Run one of the engine's commands, which must succeed, and return its output."""
        result = self.ask(*arguments)
        assert result.code == 0, result.err
        return result.out.strip()

    def build_arguments(self, file: str, tag: str, *arguments: str) -> list[str]:
        """The arguments that build an image from a Dockerfile as it stands."""
        never = ["--pull=never"] if self.program == "podman" else []  # docker: its default
        return ["build", *never, "--file", file, "--tag", tag, *arguments, "."]

    def build(self, file: str, tag: str, *arguments: str) -> str:
        """Build an image, showing the engine's output, and return its tag."""
        command = [self.program, *self.build_arguments(file, tag, *arguments)]
        print(f"\n$ {' '.join(command)}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            pytest.exit(f"{file} can't be built: {self.program} says why, above", returncode=1)
        return tag

    def run_arguments(self, work: Path, *options: object) -> list[str]:
        """The arguments before the image: a container with as few rights as possible."""
        arguments = [
            "run", "--network=none", "--read-only", f"--user={USER}:{USER}", "--cap-drop=all",
            "--security-opt=no-new-privileges", "--security-opt=label=disable",
            "--env=OMP_WAIT_POLICY=passive", f"--volume={work}:/work",
        ]  # fmt: skip
        if self.program == "podman":  # docker has no writable /tmp either
            arguments.append("--read-only-tmpfs=false")
        return [*arguments, *map(str, options)]

    def run(
        self, image: str, *arguments: object, work: Path, options: tuple[str, ...] = ()
    ) -> Result:
        """Run mmsent in a new container, on ``work``."""
        return self.ask(*self.run_arguments(work, "--rm", *options), image, *arguments)

    def shell(self, image: str, script: str, work: Path) -> str:
        """Run a shell script in a container, where it must succeed, and return its output."""
        options = ("--entrypoint=/bin/sh",)
        result = self.run(image, "-c", script, work=work, options=options)
        assert result.code == 0, result.err
        return result.out.strip()


def find_engine() -> Engine:
    """The engine that works here, with the base image; without one, the tests end."""
    found = [name for name in ("docker", "podman") if shutil.which(name)]
    for name in found:
        # Many machines have a client without its daemon.
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            engine = Engine(name)
            break
    else:
        what = f"{' and '.join(found)} does not run" if found else "neither docker nor podman is"
        pytest.exit(f"no image can be built here: {what}; install podman, or start docker", 1)
    if engine.ask("image", "inspect", BASE).code:
        pulled = engine.ask("pull", BASE)
        if pulled.code:
            pytest.exit(
                f"{engine.program} can't pull {BASE}: {pulled.err.strip().splitlines()[-1]}\n"
                "Without a container registry, make it from Debian's packages: docker/README.md",
                1,
            )
    return engine


@cache
def torch_index() -> list[str]:
    """The build argument for torch's index; none if PyTorch's own index can be reached."""
    if "TORCH_INDEX_URL" in os.environ:
        return [f"--build-arg=TORCH_INDEX_URL={os.environ['TORCH_INDEX_URL']}"]
    try:
        urllib.request.urlopen("https://download.pytorch.org/whl/cpu/torch/", timeout=15).close()
    except OSError as error:
        print(f"\nPyTorch's index can't be reached ({error}): torch comes from the default index")
        return ["--build-arg=TORCH_INDEX_URL="]
    return []

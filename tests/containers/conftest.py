"""The engine, the images and a folder to mount."""

import os
import shutil
from pathlib import Path

import pytest

from tests.containers.engine import Engine, find_engine, torch_index


@pytest.fixture(scope="session")
def engine() -> Engine:
    return find_engine()


@pytest.fixture(scope="session")
def runtime_image(engine: Engine) -> str:
    return engine.build("Dockerfile.cpu", "mmsent-runtime:test", "--target=runtime")


@pytest.fixture(scope="session")
def cpu_image(engine: Engine) -> str:
    return engine.build("Dockerfile.cpu", "mmsent-cpu:test", *torch_index())


@pytest.fixture(scope="session")
def cuda_image(engine: Engine) -> str:
    cuda = os.environ.get("CUDA", "12.1")
    return engine.build("Dockerfile.cuda", f"mmsent-cuda:test-{cuda}", f"--build-arg=CUDA={cuda}")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """A dataset folder that any user can write to."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(sample, folder, dirs_exist_ok=True)
    folder.chmod(0o777)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    return tmp_path

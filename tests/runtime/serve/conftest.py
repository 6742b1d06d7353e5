"""A service of small bundles, in this process."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.small_bundle import write_small_bundle


def png(brightness: int = 100) -> bytes:
    """An image file of one shade of grey."""
    file = io.BytesIO()
    Image.fromarray(np.full((12, 10, 3), brightness, np.uint8)).save(file, "PNG")
    return file.getvalue()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that accepts pairs without a text or without an image. Read-only."""
    folder = tmp_path_factory.mktemp("served")
    return write_small_bundle(folder / "small.onnx", optional=("text", "image"))


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that requires both. Read-only."""
    return write_small_bundle(tmp_path_factory.mktemp("served") / "strict.onnx")

"""A small dataset with a bundle; every case damages a copy."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ...small_bundle import write_small_bundle

pytest.register_assert_rewrite("tests.end_to_end.hostile.cases")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, their list, and a bundle. Read-only."""
    folder = tmp_path_factory.mktemp("hostile") / "dataset"
    (folder / "data").mkdir(parents=True)
    for guid in "123":
        (folder / "data" / f"{guid}.txt").write_text("a fun day")
        Image.new("RGB", (9, 9), (200, 0, 0)).save(folder / "data" / f"{guid}.jpg", "JPEG")
    (folder / "list.csv").write_text("guid,tag\n1,null\n2,null\n3,null\n")
    write_small_bundle(folder / "model.onnx")
    return folder


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "dataset")

"""Folders that can't be written to."""

import pytest


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody can create, not even root: its path goes through a file."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


def test_inference(run_command, dataset, read_only):
    result = run_command(
        "mmsent-infer", dataset / "list.csv", "--model", dataset / "model.onnx",
        "--output", read_only / "out.csv", cwd=dataset,
    )  # fmt: skip
    assert result.code in (1, 2)
    assert str(read_only) in result.err
    assert len(result.err.splitlines()) == 1


def test_export(run_command, trained, read_only):
    result = run_command(
        "mmsent-export", "onnx", trained, "--output", read_only / "model.onnx", cwd=trained.parent
    )
    assert result.code in (1, 2)
    assert str(read_only) in result.err


def test_training(run_command, sample, read_only):
    result = run_command(
        "mmsent", "train", "--model", "light", "--data", sample, "--output", read_only,
        cwd=sample.parent,
    )  # fmt: skip
    assert result.code in (1, 2)
    assert str(read_only.parent) in result.err


def test_sample_data(run_command, read_only):
    result = run_command("mmsent", "sample-data", read_only, cwd=read_only.parent.parent)
    assert result.code in (1, 2)
    assert str(read_only.parent) in result.err

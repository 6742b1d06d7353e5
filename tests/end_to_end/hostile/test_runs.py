"""Runs with a bad record, tokenizer or checkpoint."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A run whose checkpoint is small enough to copy for every case. Read-only."""
    return shutil.copytree(trained, tmp_path_factory.mktemp("run") / "run")


def export(run_command, run):
    output = run.parent / "out.onnx"
    result = run_command("mmsent-export", "onnx", run, "--output", output, cwd=run.parent)
    assert "Traceback" not in result.err
    assert result.code in (1, 2), result.err
    assert not output.exists()
    assert run.name in result.err
    return result


@pytest.fixture
def spoiled_run(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():  # hard links: a case replaces the file that it damages
        os.link(path, copy / path.name)
    return copy


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["run.json", "tokenizer.json", "checkpoint.safetensors", "digests.json"]
)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b"\x80\x04\x95(cos\nsystem\n.",
     b"\xff" * 8 + b"{}", struct.pack("<Q", 1 << 62) + b"{}", b"PK\x03\x04"],
    ids=range(11),
)  # fmt: skip
def test_bad_file(run_command, spoiled_run, name, content):
    replace(spoiled_run / name, content)
    export(run_command, spoiled_run)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 9}, {"format": None}, {"model": None}, {"model": {}},
        {"model": {"name": "evil"}}, {"model": {"name": "light"}},
        {"model": {"name": "light", "vocabulary": 10**12}},
        {"model": {"name": "light", "vocabulary": -1}},
        {"model": {"name": "light", "vocabulary": "x"}},
        {"model": {"name": "light", "vocabulary": 9, "labels": 10**9}},
        {"model": {"name": "light", "vocabulary": 9, "evil": 1}}, {"model": {"name": ["light"]}},
        {"model": "light"}, {"image": None}, {"image": {"size": 10**9}}, {"image": []},
        {"settings": None}, {"settings": []}, {"settings": "x"},
    ],
    ids=range(19),
)  # fmt: skip
def test_bad_record(run_command, spoiled_run, changes):
    record = json.loads((spoiled_run / "run.json").read_text())
    replace(spoiled_run / "run.json", json.dumps(record | changes).encode())
    export(run_command, spoiled_run)


@pytest.mark.parametrize("change", ["one less", "another shape", "other type", "all gone"])
def test_bad_checkpoint(run_command, spoiled_run, change):
    path = spoiled_run / "checkpoint.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    if change == "one less":
        del weights[name]
    elif change == "another shape":
        weights[name] = np.zeros(7, np.float32)
    elif change == "other type":
        weights[name] = weights[name][..., :0]
    else:
        weights = {"a": np.zeros(1, np.float32)}
    path.unlink()
    save_file(weights, path)
    export(run_command, spoiled_run)

"""Checkpoints in a folder of the user."""

import re

import pytest

from mmsent_training.weights.checkpoint import Checkpoint, WeightsUnavailable
from mmsent_training.weights.hub import find_clip

from .hub import (
    checkpoint,
    safetensors,
    sha256,
    sharded,
    write,
)


def test_a_folder_is_used_directly(tmp_path):
    folder = write(tmp_path / "mine", checkpoint())
    weights = sha256((folder / "model.safetensors").read_bytes())
    assert find_clip(str(folder)) == Checkpoint(folder, str(folder), None, weights)


def test_a_folder_with_shards(tmp_path):
    files = sharded()
    folder = write(tmp_path / "mine", files)
    first = find_clip(str(folder)).sha256
    shard = sorted(files)[1]
    (folder / shard).write_bytes(safetensors(500, seed=3))
    assert find_clip(str(folder)).sha256 != first
    (folder / shard).unlink()
    with pytest.raises(WeightsUnavailable, match=f"it lacks {shard}"):
        find_clip(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.safetensors": None, "pytorch_model.bin": b"\x80\x02."}, "is a pickle, which is"),
        ({"model.safetensors": None}, "it lacks model.safetensors"),
        ({"tokenizer.json": None}, "it lacks tokenizer.json"),
        ({"config.json": None, "preprocessor_config.json": None}, "lacks config.json, preproc"),
        ({"model.safetensors": safetensors(1000)[:-1]}, "are not a complete safetensors file"),
        ({"model.safetensors": safetensors(1000) + b"\0"}, "are not a complete safetensors file"),
        ({"model.safetensors": b""}, "its 0 bytes are not a complete safetensors file"),
        ({"model.safetensors": b"\x02" + b"\0" * 7 + b"[]"}, "are not a complete safetensors file"),
        ({"model.safetensors": b"\x80\x02" * 100}, "are not a complete safetensors file"),
        ({"model.safetensors": b"version https://git-lfs"}, "`git lfs pull` downloads"),
        (
            {"config.json": b'{"model_type"'},
            "config.json is damaged: its 13 bytes are not a complete json",
        ),
        (
            {
                "model.safetensors": None,
                "model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}',
            },
            "is not an index of safetensors",
        ),
    ],
)
def test_an_incomplete_checkpoint_is_refused(tmp_path, change, message):
    files = {name: body for name, body in (checkpoint() | change).items() if body is not None}
    folder = write(tmp_path / "mine", files)
    with pytest.raises(WeightsUnavailable, match=re.escape(message)):
        find_clip(str(folder))

"""`mmsent download-clip`."""

import shutil
import subprocess

import pytest

from mmsent_training.weights.checkpoint import WeightsUnavailable
from mmsent_training.weights.hub import find_clip

from .hub import (
    NAME,
    checkpoint,
    flip,
    sha256,
    write,
)


def test_download_clip_into_the_cache(hub, download, tmp_path):
    result = download(hub)
    assert result.code == 0
    cache = tmp_path / "hf" / "hub"
    assert f"downloading {NAME}, 0 MB, from {hub.endpoint} to {cache}" in result.err
    assert f"was downloaded to {cache}" in result.err
    assert f"`mmsent train --model clip --clip {NAME}`" in result.err
    result = download("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert result.code == 0
    assert "is already in" in result.err
    assert result.out == ""


def test_download_clip_into_a_folder(hub, download, find, tmp_path):
    result = download(hub, "--to", "clip")
    assert result.code == 0
    assert "was downloaded to clip and verified" in result.err
    assert "`mmsent train --model clip --clip clip`" in result.err
    folder, asked = tmp_path / "clip", len(hub.requests)
    result = download(hub, "--to", "clip")
    assert result.code == 0
    assert "is already in clip" in result.err
    assert len(hub.requests) == asked
    shutil.rmtree(tmp_path / "hf")  # as on another machine
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert find_clip(str(folder)).sha256 == sha256(hub.files["model.safetensors"])
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize(
    "file", ["model.safetensors", pytest.param("tokenizer.json", marks=pytest.mark.slow)]
)
def test_a_damaged_file_in_such_a_folder(make_hub, download, tmp_path, file):
    hub = make_hub(checkpoint() | {"tokenizer.json": b'{"version": "1.01"}'})
    assert download(hub, "--to", "clip").code == 0
    path = tmp_path / "clip" / file
    flip(path, -4)
    result = download(hub, "--to", "clip")
    assert result.code == 1
    assert f"clip/{file} is damaged: its checksum is not {sha256(hub.files[file])}" in result.err
    assert f"(rm {path}), then copy it again, or run the `mmsent download-clip --to`" in result.err
    path.unlink()
    with pytest.raises(WeightsUnavailable, match=f"it lacks {file}"):
        find_clip(str(tmp_path / "clip"))
    assert download(hub, "--to", "clip").code == 0
    assert path.read_bytes() == hub.files[file]


def test_download_clip_overwrites_nothing(make_hub, download, tmp_path):
    hub = make_hub(checkpoint())
    write(tmp_path / "full", {"config.json": b"{}"})
    (tmp_path / "file").touch()
    for to in ("full", "file"):
        assert download(hub, "--to", to).code == 2
    assert (tmp_path / "full" / "config.json").read_bytes() == b"{}"
    assert not hub.requests
    (tmp_path / "empty").mkdir()
    assert download(hub, "--to", "empty").code == 0
    other = make_hub(checkpoint(2000), name="acme/other")
    result = download(other, "--to", "empty", name="acme/other")
    assert result.code == 2
    assert "empty contains something other than acme/other" in result.err

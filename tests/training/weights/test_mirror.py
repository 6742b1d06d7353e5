"""Checkpoints through a mirror that redirects to another host and lacks features of the hub."""

import json
from pathlib import Path

import pytest

from mmsent.clip_pin import REVISION, WEIGHTS_SHA256, WEIGHTS_SIZE
from mmsent_training.weights.hub import DEFAULT_CLIP

from .conftest import COMMAND, FIND
from .hub import (
    COMMIT,
    CUT,
    LARGE,
    MEGABYTE,
    NAME,
    begun,
    checkpoint,
    flip,
    sha256,
    sharded,
    until,
)

NO_METADATA = ("X-Repo-Commit", "ETag", "X-Linked-Etag", "X-Linked-Size")
LEAST = (*NO_METADATA, "HEAD", "listing")


@pytest.mark.parametrize(
    "lacks",
    [
        ("nothing",),
        ("X-Repo-Commit",),
        ("ETag", "X-Linked-Etag"),
        (("Content-Length", "HEAD"), "X-Linked-Size"),
        ("HEAD",),
        ("listing",),
        LEAST,
    ],
)
def test_a_mirror(make_hub, find, lacks):
    hub = make_hub(checkpoint(), lacks=lacks)
    fetched = find(hub).found
    assert fetched["sha256"] == sha256(hub.files["model.safetensors"])
    assert fetched["revision"] == (None if lacks == LEAST else COMMIT)  # nothing refers to it
    for name, content in hub.files.items():
        assert Path(fetched["folder"], name).read_bytes() == content
    assert hub.downloads() == 1
    assert find(hub, fetch=False).found == fetched
    flip(Path(fetched["folder"], "model.safetensors"))
    assert "model.safetensors is damaged: its checksum is not" in find(hub, fetch=False).err


def test_shards_from_a_mirror(make_hub, find):
    hub = make_hub(sharded(), lacks=LEAST)
    folder = Path(find(hub).found["folder"])
    for name, content in hub.files.items():
        assert (folder / name).read_bytes() == content


def test_the_default_from_a_mirror_is_the_pinned_one(make_hub, find):
    hub = make_hub(checkpoint(), name=DEFAULT_CLIP, commit=REVISION, lacks=LEAST)
    weights = hub.files["model.safetensors"]
    pin = f"from mmsent import clip_pin; clip_pin.WEIGHTS_SIZE = {len(weights)}"
    result = find(hub, DEFAULT_CLIP, before=pin)
    assert result.code == 1
    assert f"its checksum is not {WEIGHTS_SHA256}" in result.err
    result = find(hub, DEFAULT_CLIP, fetch=False)
    assert f"model.safetensors of {DEFAULT_CLIP} is not in the cache" in result.err
    pin += f"; clip_pin.WEIGHTS_SHA256 = {sha256(weights)!r}"
    found = find(hub, DEFAULT_CLIP, before=pin).found
    assert found["revision"] == REVISION
    assert all(REVISION in path for _, path in hub.requests if "/resolve/" in path)


@pytest.mark.parametrize("name", [NAME, DEFAULT_CLIP])
@pytest.mark.parametrize("sha", ["../../../elsewhere", "6" * 40])
def test_a_mirror_that_lies_about_the_commit(make_hub, find, tmp_path, name, sha):
    """It can neither write outside the cache nor avoid the pin."""
    hub = make_hub(checkpoint(), name=name, commit=REVISION, lacks=NO_METADATA)
    hub.sha = sha
    result = find(hub, name)
    if name == DEFAULT_CLIP:
        assert f"not {WEIGHTS_SIZE:,}" in result.err
    elif sha == "6" * 40:
        assert "has no config.json" in result.err  # of that commit
    else:
        assert result.found["revision"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"hf"}
    assert not (tmp_path / "hf" / "elsewhere").exists()


@pytest.mark.parametrize("ranges", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["cut", pytest.param("killed", marks=pytest.mark.slow)])
def test_an_interrupted_mirror_is_resumed(make_hub, start, find, tmp_path, how, ranges):
    lacks = NO_METADATA if ranges else (*NO_METADATA, "Range")
    hub = make_hub(checkpoint(LARGE), lacks=lacks)
    hub.cut, hub.stall = (CUT, None) if how == "cut" else (None, CUT)
    process = start(hub, COMMAND, "--clip", NAME)
    if how == "killed":
        until(lambda: begun(tmp_path))
        process.process.kill()
    result = process.wait()
    assert result.code != 0
    if how == "cut":
        assert f"the download of {NAME} to {tmp_path / 'hf' / 'hub'} stopped: " in result.err
    assert f"model.safetensors of {NAME} is not in the cache" in find(hub, fetch=False).err
    hub.cut = hub.stall = None
    found = find(hub).found
    assert Path(found["folder"], "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    first_byte = int(hub.asked[-1].removeprefix("bytes=").rstrip("-"))
    assert MEGABYTE < first_byte <= CUT


def test_two_downloads_at_once_from_a_mirror(make_hub, start):
    hub = make_hub(checkpoint(LARGE), lacks=LEAST)
    processes = [start(hub, FIND.format(before=""), NAME) for _ in range(2)]
    first, second = (process.wait().found for process in processes)
    assert first == second
    assert hub.downloads() == 1


def test_a_token_stays_with_the_mirror(make_hub, find):
    hub = make_hub(checkpoint(), lacks=LEAST)
    assert find(hub, HF_TOKEN="hf_secret").code == 0
    sent = {host.partition(":")[0]: token for host, token in hub.tokens}
    assert sent == {"127.0.0.1": "Bearer hf_secret", "localhost": None}


def test_a_mirror_without_safetensors(make_hub, find):
    files = checkpoint() | {"pytorch_model.bin": b"\x80\x02."}
    del files["model.safetensors"]
    hub = make_hub(files, lacks=LEAST)
    result = find(hub)
    assert result.code == 1
    assert f"has no model.safetensors of {NAME}, and a pickle is never loaded" in result.err
    assert not any("pytorch_model" in path for _, path in hub.requests)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_mirror_that_sends_a_page_instead(make_hub, find, file):
    hub = make_hub(checkpoint() | {file: b"<html>please log in</html>"}, lacks=LEAST)
    result = find(hub)
    assert result.code == 1
    if file == "config.json":
        assert "HF_ENDPOINT to a mirror" in result.err
    else:
        assert f"/{file} returns a damaged file: its 26 bytes are not a complete" in result.err
    assert f"{file} of {NAME}" in (err := find(hub, fetch=False).err) or f"{NAME} is not" in err


@pytest.mark.parametrize(("lacks", "model_type"), [((), "blip"), (LEAST, None)])
def test_another_model_is_refused_before_the_download(make_hub, find, lacks, model_type):
    config = json.dumps({"model_type": model_type} if model_type else {}).encode()
    hub = make_hub(checkpoint() | {"config.json": config}, lacks=lacks)
    result = find(hub)
    assert result.code == 2
    what = "a blip checkpoint" if model_type else "a checkpoint whose config.json has no model_type"
    message = f"Error: {NAME} is {what}; mmsent trains clip, chinese_clip, siglip\n"
    assert result.err.endswith(message)
    assert hub.downloads() == 0
    assert find(hub, fetch=False).err == message

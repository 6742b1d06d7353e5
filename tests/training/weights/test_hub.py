"""Checkpoints from the hub and its cache: found, downloaded, interrupted, damaged."""

import os
import signal
import socket
from pathlib import Path

import pytest

from mmsent.clip_pin import REVISION
from mmsent_training.weights.hub import DEFAULT_CLIP

from .conftest import COMMAND, FIND
from .hub import (
    COMMIT,
    CUT,
    LARGE,
    NAME,
    begun,
    checkpoint,
    flip,
    sha256,
    sharded,
    until,
)


def test_a_downloaded_checkpoint_is_found_without_a_network(make_hub, find):
    hub = make_hub(checkpoint())
    fetched = find(hub).found
    assert fetched["name"] == NAME
    assert fetched["revision"] == COMMIT
    assert fetched["sha256"] == sha256(hub.files["model.safetensors"])
    for name, content in hub.files.items():
        assert Path(fetched["folder"], name).read_bytes() == content
    asked = len(hub.requests)
    assert find(hub).found == fetched
    assert len(hub.requests) == asked
    assert find("http://127.0.0.1:9", HF_HUB_OFFLINE="1").found == fetched
    assert find("http://127.0.0.1:9", fetch=False).found == fetched


def test_the_default_is_pinned(make_hub, find):
    files = checkpoint()
    hub = make_hub(files, name=DEFAULT_CLIP, commit=REVISION)
    size = len(files["model.safetensors"])
    before = f"from mmsent import clip_pin; clip_pin.WEIGHTS_SIZE = {size}"
    found = find(hub, DEFAULT_CLIP, before=before).found
    assert found["revision"] == REVISION
    assert len(hub.requests) >= 5
    assert all(REVISION in path or "/cdn/" in path for _, path in hub.requests)
    result = find(hub, DEFAULT_CLIP, fetch=False)
    assert result.code == 1
    assert f"model.safetensors is damaged: it has {size:,} bytes, not 605,157,884" in result.err


def test_a_sharded_checkpoint(make_hub, find, tmp_path):
    hub = make_hub(sharded())
    found = find(hub).found
    shards = sorted(name for name in hub.files if name.endswith(".safetensors"))
    assert len(shards) == 2
    for name in shards:
        assert Path(found["folder"], name).read_bytes() == hub.files[name]
    assert find(hub, fetch=False).found == found
    missing = Path(found["folder"], shards[1])
    missing.resolve().unlink()
    result = find(hub, fetch=False)
    assert result.code == 1
    assert f"{shards[1]} of {NAME} is not in the cache {tmp_path / 'hf' / 'hub'}\n" in result.err
    assert find(hub).found == found
    flip(missing)
    assert f"{shards[1]} is damaged" in find(hub).err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.safetensors": None}, "has no model.safetensors of acme/clip-tiny, and a pickle"),
        ({"tokenizer.json": None}, "has no tokenizer.json of acme/clip-tiny"),
    ],
)
def test_a_hub_without_a_file(make_hub, find, change, message):
    files = checkpoint() | {"pytorch_model.bin": b"\x80\x02."}
    hub = make_hub({name: body for name, body in files.items() if name not in change})
    result = find(hub)
    assert result.code == 1
    assert message in result.err
    assert not any("pytorch_model" in path for _, path in hub.requests)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (None, "has no no/such, or requires `hf auth login` for it"),
        (401, "has no no/such, or requires `hf auth login` for it"),
        pytest.param(500, "answers with the HTTP status 500", marks=pytest.mark.slow),
    ],
)
def test_a_hub_that_denies_access(hub, find, status, message):
    hub.status = status
    result = find(hub, "no/such")
    assert result.code == 1
    assert f"{hub.endpoint} {message}" in result.err
    assert "--model light" in result.err


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "what?"])
def test_neither_a_folder_nor_a_name(hub, find, name):
    result = find(hub, name, fetch=False)
    assert result.code == 2
    assert f"{name} is neither a folder here nor a name on the hub" in result.err
    assert not hub.requests


# Without a network


def test_offline_with_an_empty_cache(hub, find, tmp_path):
    result = find(hub, HF_HUB_OFFLINE="1")
    assert result.code == 1
    assert f"{NAME} is not in the cache {tmp_path / 'hf' / 'hub'}" in result.err
    assert "HF_HUB_OFFLINE is set" in result.err
    assert not hub.requests


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_noticed_within_15_seconds(hub, start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    hub.silent = True
    # Timed after the imports, which are slow on a busy machine.
    clock = (
        "import atexit, time\nstarted = time.monotonic()\n"
        "atexit.register(lambda: print(time.monotonic() - started))\n"
    )
    no_dns = "import socket\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    processes = {
        name: start(place, FIND.format(before=clock + before), DEFAULT_CLIP)
        for name, place, before in (
            ("refused", closed, ""),
            ("silent", hub, ""),
            ("no_dns", "http://hub.invalid", no_dns),
        )
    }
    results = {name: process.wait() for name, process in processes.items()}
    for result in results.values():
        assert result.code == 1
        assert float(result.out) < 15
        folder = tmp_path / "hf" / "hub" / "models--openai--clip-vit-base-patch32"
        _, *remedies = result.err.splitlines()
        assert remedies == [
            "Run `mmsent download-clip --to DIR` on a machine with a network, copy DIR here and "
            "use --clip DIR",
            f"Or copy that machine's folder of the cache to {folder}",
            "Or set the environment variable HF_ENDPOINT to a mirror, such as https://hf-mirror.com",
            "Or train without CLIP: --model compact or --model light",
        ]
    assert f"{closed} can't be reached: Connection refused" in results["refused"].err
    assert f"{hub.endpoint} can't be reached: no answer within" in results["silent"].err
    assert "http://hub.invalid can't be reached: no answer within" in results["no_dns"].err


# Interrupted


def test_a_truncated_download_is_not_a_checkpoint(make_hub, download, find, tmp_path):
    hub = make_hub(checkpoint(LARGE))
    hub.cut = CUT
    result = download(hub)
    assert result.code == 1
    assert f"the download of {NAME} to {tmp_path / 'hf' / 'hub'} stopped: " in result.err
    assert result.err.endswith(f"\nRun `mmsent download-clip --clip {NAME}` again\n")
    result = find(hub, fetch=False)
    assert result.code == 1
    assert f"model.safetensors of {NAME} is not in the cache" in result.err
    hub.cut = None
    assert download(hub).code == 0
    found = find(hub, fetch=False).found
    assert Path(found["folder"], "model.safetensors").read_bytes() == hub.files["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_not_a_checkpoint(make_hub, start, download, find, tmp_path, how):
    hub = make_hub(checkpoint(LARGE))
    hub.stall = CUT
    process = start(hub, COMMAND, "--clip", NAME)
    until(lambda: begun(tmp_path))
    process.process.send_signal(how)
    assert process.wait().code != 0
    result = find(hub, fetch=False)
    assert result.code == 1
    assert f"model.safetensors of {NAME} is not in the cache" in result.err
    hub.stall = None
    assert download(hub).code == 0
    assert find(hub, fetch=False).code == 0


def test_a_damaged_download_is_not_used(make_hub, download, find):
    """huggingface_hub checks only the size."""
    hub = make_hub(checkpoint())
    hub.claimed["model.safetensors"] = "0" * 64
    for result in (download(hub), find(hub), find(hub, fetch=False)):
        assert result.code == 1
        assert f"model.safetensors is damaged: its checksum is not {'0' * 64}" in result.err
    assert hub.downloads() == 1


# Damaged


@pytest.mark.parametrize(
    "file", ["model.safetensors", pytest.param("config.json", marks=pytest.mark.slow)]
)
def test_a_damaged_file_in_the_cache_is_named_and_kept(hub, find, file):
    found = find(hub).found
    path = Path(found["folder"], file)
    flip(path)
    damaged, asked = path.read_bytes(), len(hub.requests)
    result = find(hub)
    assert result.code == 1
    assert f"{path} is damaged: its " in result.err
    assert f"(rm {path.resolve()}), then run `mmsent download-clip --clip {NAME}`" in result.err
    assert len(result.err.splitlines()) == 2
    assert path.read_bytes() == damaged
    assert len(hub.requests) == asked
    path.resolve().unlink()  # the fix
    assert find(hub).found == found
    assert hub.downloads() == (2 if file == "model.safetensors" else 1)  # only what is missing


def test_a_truncated_file_in_the_cache(hub, find):
    path = Path(find(hub).found["folder"], "model.safetensors")
    os.truncate(path, 1000)
    assert f"{path} is damaged: its 1,000 bytes are not a complete safetensors" in find(hub).err

"""CLIP's weights in the hub's cache, and the hub itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from doctor_machine import Machine

from mmsent.clip_pin import REVISION, WEIGHTS_SIZE

FOLDER = "models--openai--clip-vit-base-patch32"


def _weights(cache: Path, size: int, revision: str = REVISION) -> Path:
    """Write a sparse file with the structure of a model.safetensors of ``size`` bytes."""
    blob = cache / FOLDER / "blobs/a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f"
    blob.parent.mkdir(parents=True)
    offsets = {"data_offsets": [0, WEIGHTS_SIZE - 8 - 128], "dtype": "U8", "shape": []}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weights": offsets}).ljust(128)
    with open(blob, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(size)
    link = cache / FOLDER / "snapshots" / revision / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../blobs") / blob.name)
    return link


@pytest.fixture
def cache(machine: Machine, tmp_path: Path) -> Path:
    machine.set(HF_HOME=str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def test_complete_weights(machine: Machine, cache: Path) -> None:
    _weights(cache, WEIGHTS_SIZE)
    result = machine.doctor()
    assert REVISION[:12] in result.finding("clip-weights")["what"]
    assert result.report["can"]["train_clip"] == "cpu"


def test_truncated_weights(machine: Machine, cache: Path) -> None:
    file = _weights(cache, 400_000_000)
    result = machine.doctor()
    found = result.finding("clip-weights-truncated")
    assert "400,000,000 of 605,157,884 bytes" in found["what"]
    assert found["fix"] == f"rm {file.resolve()} {file}; mmsent download-clip"
    assert result.report["can"]["train_clip"] is None
    assert result.report["can"]["train"] == "cpu"
    assert result.code == 1


def test_a_broken_link_is_truncated(machine: Machine, cache: Path) -> None:
    _weights(cache, WEIGHTS_SIZE).resolve().unlink()
    assert "0 of 605,157,884" in machine.doctor().finding("clip-weights-truncated")["what"]


def test_weights_whose_header_is_damaged(machine: Machine, cache: Path) -> None:
    with open(_weights(cache, WEIGHTS_SIZE), "r+b") as file:
        file.write(bytes(64))
    result = machine.doctor()
    assert "header" in result.finding("clip-weights-damaged")["why"]
    assert result.code == 1


def test_missing_weights_are_a_warning(machine: Machine, cache: Path) -> None:
    result = machine.doctor()
    found = result.finding("clip-weights-missing")
    assert str(cache) in found["what"]
    assert found["fix"].startswith("mmsent download-clip")
    assert result.code == 0


def test_weights_of_another_revision_are_not_the_pinned_ones(machine: Machine, cache: Path) -> None:
    _weights(cache, 10, revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268")
    assert "3d74acf9a28c" in machine.doctor().finding("clip-weights-missing")["why"]


def test_the_cache_from_the_environment_comes_first(machine: Machine, tmp_path: Path) -> None:
    machine.set(HF_HOME=str(tmp_path / "empty"), HF_HUB_CACHE=str(tmp_path / "cache"))
    _weights(tmp_path / "cache", WEIGHTS_SIZE)
    assert "clip-weights" in machine.doctor().ids("ok")


def test_an_offline_hub_is_reported(machine: Machine) -> None:
    machine.set(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in machine.doctor().finding("hub-settings")["what"]


def test_a_password_in_the_endpoint_is_not_printed(machine: Machine) -> None:
    machine.set(HF_ENDPOINT="https://me:secret@mirror.example/hf")
    result = machine.doctor()
    assert "https://mirror.example/hf" in result.finding("hub-settings")["what"]
    assert "secret" not in result.output


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        whole = f"/openai/clip-vit-base-patch32/resolve/{REVISION}/config.json"
        self.send_response(200 if self.path == whole else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Mirror(_Hub):
    do_GET = _Hub.do_HEAD

    def do_HEAD(self) -> None:
        self.send_response(405)
        self.end_headers()


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "id"), [("", "hub-answers"), ("/elsewhere", "hub-refuses")])
def test_the_hub_is_contacted(machine: Machine, hub: str, path: str, id: str) -> None:
    machine.set(HF_ENDPOINT=hub + path, no_proxy="127.0.0.1")
    assert hub in machine.doctor("--online").finding(id)["what"]


@pytest.mark.parametrize(("path", "id"), [("", "hub-answers"), ("/elsewhere", "hub-refuses")])
def test_a_mirror_that_does_not_answer_head(machine: Machine, path: str, id: str) -> None:
    with HTTPServer(("127.0.0.1", 0), _Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}"
        machine.set(HF_ENDPOINT=mirror + path, no_proxy="127.0.0.1")
        assert mirror in machine.doctor("--online").finding(id)["what"]
        server.shutdown()


def test_a_hub_that_cannot_be_reached(machine: Machine) -> None:
    machine.set(HF_ENDPOINT="http://127.0.0.1:9", no_proxy="127.0.0.1")
    found = machine.doctor("--online").finding("hub-unreachable")
    assert "refused" in found["why"]
    assert "HF_ENDPOINT=https://hf-mirror.com" in found["fix"]
    assert "copy DIR here" in found["fix"]


def test_the_hub_is_contacted_only_on_request(machine: Machine) -> None:
    machine.set(HF_ENDPOINT="http://127.0.0.1:9")
    assert not any("hub-un" in id for id in machine.doctor().ids("warning"))

"""CLIP's weights from a hub, its cache and a folder: found, fetched, refused.

The hub is a small server in this process, which answers as the real one does. What asks it runs in
processes of its own, with the environment variables that a user would set: huggingface_hub reads
them when it is imported.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from mmsent.clip_pin import REVISION, WEIGHTS_SHA256, WEIGHTS_SIZE
from mmsent.errors import MmsentError
from mmsent_training.weights.checkpoint import ClipCheckpoint, WeightsUnavailable
from mmsent_training.weights.hub import DEFAULT_CLIP, find_clip

NAME = "acme/clip-tiny"
COMMIT = "5" * 40
MEGABYTE = 1_000_000
LARGE = 24 * MEGABYTE  # more than huggingface_hub's chunk of 10 MiB, which it writes as a whole
CUT = 15 * MEGABYTE

FIND = """
import dataclasses, json, sys
from mmsent.cli import run
from mmsent_training.weights.hub import find_clip
{before}
def find():
    found = find_clip(sys.argv[1], fetch={fetch})
    print(json.dumps(dataclasses.asdict(found), default=str))
run(find)
"""
COMMAND = """
import logging
from mmsent.cli import run
from mmsent_training.cli import download_clip
logging.basicConfig(level=logging.INFO)
run(download_clip)
"""


def safetensors(size, seed=0):
    """The bytes of a safetensors file that holds one tensor of about ``size`` bytes."""
    block = hashlib.sha256(str(seed).encode()).digest()
    tensor = block * (size // len(block) + 1)
    header = {
        "__metadata__": {"format": "pt"},
        f"weight{seed}": {"dtype": "U8", "shape": [len(tensor)], "data_offsets": [0, len(tensor)]},
    }
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + tensor


def checkpoint(size=1000):
    """A checkpoint's files; nothing here reads more than their outsides."""
    return {
        "config.json": b'{"model_type": "clip"}',
        "preprocessor_config.json": b'{"size": 224}',
        "tokenizer.json": b'{"version": "1.0"}',
        "model.safetensors": safetensors(size),
    }


def sharded():
    shards = {f"model-0000{number}-of-00002.safetensors": number for number in (1, 2)}
    index = {"weight_map": {f"weight{number}": shard for shard, number in shards.items()}}
    files = checkpoint() | {"model.safetensors.index.json": json.dumps(index).encode()}
    del files["model.safetensors"]
    return files | {shard: safetensors(500, number) for shard, number in shards.items()}


class Hub:
    """A hub on 127.0.0.1 with one checkpoint, and the storage that it redirects to for weights.

    ``cut`` ends a connection and ``stall`` lets it hang at that byte of the weights; ``silent``:
    no request is answered; ``status``: all are, with that; ``claimed``: other SHA-256 than a
    file has. ``lacks``: what it does not do, as some mirrors; then it redirects every file to
    another host.
    """

    def __init__(self, files, name=NAME, commit=COMMIT, lacks=()):
        self.files, self.name, self.commit, self.lacks = files, name, commit, lacks
        self.requests, self.claimed, self.asked, self.tokens = [], {}, [], set()
        self.sha = commit  # as its listing has it
        self.cut = self.stall = self.status = None
        self.silent = False
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that was killed
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.storage = self.endpoint.replace("127.0.0.1", "localhost") if lacks else self.endpoint

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def downloads(self):
        """How often the weights were asked for."""
        return self.requests.count(("GET", "/cdn/model.safetensors"))

    def about(self, file):
        """What the API says of a file: large ones lie in Git LFS, named by their SHA-256."""
        content = self.files[file]
        about = {"rfilename": file, "size": len(content), "blobId": git_sha1(content)}
        if file.endswith(".safetensors"):
            digest = self.claimed.get(file, sha256(content))
            about["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
        return about

    def handler(hub):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer()

            def do_GET(self):
                self.answer()

            def log_message(self, *_):
                pass

            def reply(self, status, headers, content=b""):
                self.send_response(status)
                for key, value in ({"Content-Length": len(content)} | headers).items():
                    if key not in hub.lacks and (key, self.command) not in hub.lacks:
                        self.send_header(key, str(value))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def answer(self):
                hub.requests.append((self.command, self.path))
                hub.tokens.add((self.headers["Host"], self.headers["Authorization"]))
                if self.command in hub.lacks:
                    self.reply(405, {})
                elif "listing" in hub.lacks and self.path.startswith("/api/"):
                    self.reply(404, {}, b"<html>no such page</html>")
                elif hub.silent:
                    hub.released.wait(60)
                    self.close_connection = True
                elif hub.status:
                    self.reply(hub.status, {})
                elif self.path.startswith("/cdn/"):
                    self.send_stored(hub.files[self.path.removeprefix("/cdn/")])
                elif self.path.startswith("/api/models/"):
                    path = self.path.removeprefix("/api/models/").partition("?")[0]
                    self.send_listing(*path.split("/revision/"))
                else:
                    repository, _, rest = self.path.lstrip("/").partition("/resolve/")
                    self.send_file(repository, *rest.split("/"))

            def known(self, repository, revision, file=None):
                if repository != hub.name:
                    wrong = "RepoNotFound"
                elif revision not in ("main", hub.commit):
                    wrong = "RevisionNotFound"
                else:
                    wrong = "EntryNotFound" if file and file not in hub.files else None
                if wrong:
                    self.reply(404, {"X-Error-Code": wrong})
                return not wrong

            def send_listing(self, repository, revision):
                if self.known(repository, revision):
                    siblings = [hub.about(file) for file in hub.files]
                    listing = {"id": hub.name, "sha": hub.sha, "siblings": siblings}
                    self.reply(200, {}, json.dumps(listing).encode())

            def send_file(self, repository, revision, file):
                if not self.known(repository, revision, file):
                    return
                about, commit = hub.about(file), {"X-Repo-Commit": hub.commit}
                if "lfs" in about:
                    linked = {"X-Linked-Etag": about["lfs"]["sha256"]}
                    linked["X-Linked-Size"] = about["size"]
                    self.reply(302, commit | linked | {"Location": f"{hub.storage}/cdn/{file}"})
                elif hub.lacks:
                    linked = {"X-Linked-Etag": about["blobId"], "X-Linked-Size": about["size"]}
                    self.reply(307, commit | linked | {"Location": f"{hub.storage}/cdn/{file}"})
                else:
                    self.reply(200, commit | {"ETag": about["blobId"]}, hub.files[file])

            def send_stored(self, content):
                start = 0
                headers = {"Accept-Ranges": "bytes"}
                asked = None if "Range" in hub.lacks else self.headers.get("Range")
                hub.asked.append(self.headers.get("Range"))
                if asked:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                headers["Content-Length"] = len(content) - start
                stop = hub.cut or hub.stall or len(content)
                self.reply(206 if asked else 200, headers, content[start : max(start, stop)])
                if self.command == "GET" and stop < len(content):
                    if hub.stall:
                        hub.released.wait(60)
                    self.close_connection = True

        return Handler


@pytest.fixture
def make_hub():
    with ExitStack() as hubs:
        yield lambda *files, **named: hubs.enter_context(closing(Hub(*files, **named)))


@pytest.fixture
def hub(make_hub):
    return make_hub(checkpoint())


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def found(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def start(tmp_path):
    """Starts a process with a hub's cache of its own; returns what waits for its result."""
    processes = []

    def start(hub, code, *arguments, **env):
        # What this process was told of the hub is not for that one.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        endpoint = hub if isinstance(hub, str) else hub.endpoint
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            env=clean
            | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, "NO_PROXY": "*"}
            | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)

        def wait():
            out, err = process.communicate(timeout=60)
            assert "Traceback" not in err, err
            return Result(process.returncode, out, err)

        wait.process = process
        return wait

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def find(start, tmp_path, monkeypatch):
    """Finds a checkpoint; what may not be fetched is looked for from this process."""

    def find(hub, name=NAME, *, fetch=True, before="", **env):
        if fetch:
            return start(hub, FIND.format(before=before, fetch=True), name, **env)()
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
            asked = [] if isinstance(hub, str) else [*hub.requests]
            try:
                found = json.dumps(asdict(find_clip(name, fetch=False)), default=str)
                return Result(0, found, "")
            except MmsentError as error:
                return Result(error.exit_code, "", f"Error: {error}\n")
            finally:
                assert isinstance(hub, str) or hub.requests == asked

    return find


@pytest.fixture
def download(start):
    def download(hub, *arguments, name=NAME, **env):
        return start(hub, COMMAND, "--clip", name, *arguments, **env)()

    return download


def write(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def flip(path, at=-2):
    """Flip a bit of a file's byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


# From the hub, and from its cache


def test_what_was_fetched_is_found_without_a_network(make_hub, find):
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
def test_a_hub_that_refuses(hub, find, status, message):
    hub.status = status
    result = find(hub, "no/such")
    assert result.code == 1
    assert f"{hub.endpoint} {message}" in result.err
    assert "--model light" in result.err


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "what?"])
def test_what_is_neither_a_folder_nor_a_name(hub, find, name):
    result = find(hub, name)
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


def test_a_hub_that_can_not_be_reached_is_noticed_within_15_seconds(hub, start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    hub.silent = True
    # From when the imports are done, which take long on a busy machine.
    clock = (
        "import atexit, time\nstarted = time.monotonic()\n"
        "atexit.register(lambda: print(time.monotonic() - started))\n"
    )
    no_dns = "import socket\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    waits = {
        name: start(place, FIND.format(before=clock + before, fetch=True), DEFAULT_CLIP)
        for name, place, before in (
            ("refused", closed, ""),
            ("silent", hub, ""),
            ("no_dns", "http://hub.invalid", no_dns),
        )
    }
    results = {name: wait() for name, wait in waits.items()}
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


def test_a_download_that_is_cut_is_no_checkpoint(make_hub, download, find, tmp_path):
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_no_checkpoint(make_hub, start, download, find, tmp_path, how):
    hub = make_hub(checkpoint(LARGE))
    hub.stall = CUT
    wait = start(hub, COMMAND, "--clip", NAME)
    until(lambda: weights_begun(tmp_path))
    wait.process.send_signal(how)
    assert wait().code != 0
    result = find(hub, fetch=False)
    assert result.code == 1
    assert f"model.safetensors of {NAME} is not in the cache" in result.err
    hub.stall = None
    assert download(hub).code == 0
    assert find(hub, fetch=False).code == 0


def test_what_came_damaged_is_not_used(make_hub, download, find):
    """The library checks the size alone."""
    hub = make_hub(checkpoint())
    hub.claimed["model.safetensors"] = "0" * 64
    for result in (download(hub), find(hub), find(hub, fetch=False)):
        assert result.code == 1
        assert f"model.safetensors is damaged: its checksum is not {'0' * 64}" in result.err
    assert hub.downloads() == 1


def weights_begun(folder):
    """Whether part of the weights is on disk; a small file's part comes and goes next to it."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size > MEGABYTE for path in folder.rglob("*.incomplete"))
    return False


def until(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


# Through a mirror, which redirects to another host and is less than a hub

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
    assert fetched["revision"] == (None if lacks == LEAST else COMMIT)  # nothing names it
    for name, content in hub.files.items():
        assert Path(fetched["folder"], name).read_bytes() == content
    assert hub.downloads() == 1
    assert find("http://127.0.0.1:9", HF_HUB_OFFLINE="1").found == fetched
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
    """It gets out of no folder, and around no pin."""
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


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("how", ["cut", "killed"])
def test_an_interrupted_mirror_is_resumed(make_hub, start, find, tmp_path, how, ranges):
    lacks = NO_METADATA if ranges else (*NO_METADATA, "Range")
    hub = make_hub(checkpoint(LARGE), lacks=lacks)
    hub.cut, hub.stall = (CUT, None) if how == "cut" else (None, CUT)
    wait = start(hub, COMMAND, "--clip", NAME)
    if how == "killed":
        until(lambda: weights_begun(tmp_path))
        wait.process.kill()
    result = wait()
    assert result.code != 0
    if how == "cut":
        assert f"the download of {NAME} to {tmp_path / 'hf' / 'hub'} stopped: " in result.err
    assert f"model.safetensors of {NAME} is not in the cache" in find(hub, fetch=False).err
    hub.cut = hub.stall = None
    found = find(hub).found
    assert Path(found["folder"], "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    begun = int(hub.asked[-1].removeprefix("bytes=").rstrip("-"))
    assert MEGABYTE < begun <= CUT


def test_two_at_once_from_a_mirror(make_hub, start):
    hub = make_hub(checkpoint(LARGE), lacks=LEAST)
    waits = [start(hub, FIND.format(before="", fetch=True), NAME) for _ in range(2)]
    first, second = (wait().found for wait in waits)
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


@pytest.mark.parametrize("lacks", [(), LEAST])
@pytest.mark.parametrize("model_type", ["blip", None])
def test_another_model_is_refused_before_its_weights_come(make_hub, find, lacks, model_type):
    config = json.dumps({"model_type": model_type} if model_type else {}).encode()
    hub = make_hub(checkpoint() | {"config.json": config}, lacks=lacks)
    result = find(hub)
    assert result.code == 2
    what = "a blip checkpoint" if model_type else "a checkpoint whose config.json has no model_type"
    message = f"Error: {NAME} is {what}; mmsent trains clip, chinese_clip, siglip\n"
    assert result.err.endswith(message)
    assert hub.downloads() == 0
    assert find(hub, fetch=False).err == message


# Damaged


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
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
    path.resolve().unlink()  # the remedy
    assert find(hub).found == found
    assert hub.downloads() == (2 if file == "model.safetensors" else 1)  # only what is missing


def test_a_truncated_file_in_the_cache(hub, find):
    path = Path(find(hub).found["folder"], "model.safetensors")
    os.truncate(path, 1000)
    assert f"{path} is damaged: its 1,000 bytes are not a complete safetensors" in find(hub).err


# A local folder


def test_a_folder_is_used_as_it_is(tmp_path):
    folder = write(tmp_path / "mine", checkpoint())
    weights = sha256((folder / "model.safetensors").read_bytes())
    assert find_clip(str(folder)) == ClipCheckpoint(folder, str(folder), None, weights)


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
        ({"model.safetensors": b"version https://git-lfs"}, "`git lfs pull` fetches"),
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
def test_a_folder_that_is_no_whole_checkpoint(tmp_path, change, message):
    files = {name: body for name, body in (checkpoint() | change).items() if body is not None}
    folder = write(tmp_path / "mine", files)
    with pytest.raises(WeightsUnavailable, match=re.escape(message)):
        find_clip(str(folder))


# The command


def test_download_clip_into_the_cache(hub, download, tmp_path):
    result = download(hub)
    assert result.code == 0
    assert f"fetching {NAME}, 0 MB, from {hub.endpoint} to {tmp_path / 'hf' / 'hub'}" in result.err
    assert f"was fetched to {tmp_path / 'hf' / 'hub'}" in result.err
    assert f"`mmsent train --model clip --clip {NAME}`" in result.err
    result = download("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert result.code == 0
    assert "is already in" in result.err
    assert result.out == ""


def test_download_clip_into_a_folder(hub, download, find, tmp_path):
    result = download(hub, "--to", "clip")
    assert result.code == 0
    assert "was fetched to clip, whole and verified" in result.err
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


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
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

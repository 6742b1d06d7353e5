"""CLIP's weights from a hub, its cache and a folder: found, fetched, refused.

The hub is a small server in this process, which answers as the real one does. What asks it runs in
processes of its own, with the environment variables that a user would set.
"""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmsent_training.weights.hub import (
    DEFAULT_CLIP,
    REVISION,
    ClipCheckpoint,
    WeightsUnavailable,
    find_clip,
)

NAME = "acme/clip-tiny"
COMMIT = "5" * 40
MEGABYTE = 1_000_000
LARGE = 24 * MEGABYTE  # more than huggingface_hub's chunk of 10 MiB, which it writes as a whole
CUT = 15 * MEGABYTE

FIND = """
import dataclasses, json, sys
from mmsent.cli import run
from mmsent_training.weights import hub as weights
{before}
def find():
    found = weights.find_clip(sys.argv[1], fetch={fetch})
    print(json.dumps(dataclasses.asdict(found), default=str))
run(find)
"""
COMMAND = """
from mmsent.cli import run
from mmsent_training.weights import hub as weights
from mmsent_training.cli import download_clip
{before}
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
    no request is answered; ``status``: all are, with that.
    """

    def __init__(self, files, name=NAME, commit=COMMIT):
        self.files, self.name, self.commit = files, name, commit
        self.requests, self.tokens = [], set()
        self.cut = self.stall = self.status = None
        self.silent = False
        self.released = threading.Event()
        self.servers = [self.serve(), self.serve()]
        self.endpoint, self.storage = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers
        )

    def serve(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # a client that was killed
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def close(self):
        self.released.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def ranges(self):
        """The Range headers of the weights' downloads, in order."""
        return [r for method, path, r in self.requests if method == "GET" and "/cdn/" in path]

    def handler(hub):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def log_message(self, *_):
                pass

            def reply(self, status, headers):
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, str(value))
                self.end_headers()

            def answer(self, body):
                hub.requests.append((self.command, self.path, self.headers.get("Range")))
                for place in ("/resolve/", "/cdn/"):
                    if place in self.path:
                        hub.tokens.add((place, self.headers.get("Authorization")))
                if hub.silent:
                    hub.released.wait(60)
                    self.close_connection = True
                    return
                if hub.status:
                    return self.reply(hub.status, {"Content-Length": 0})
                if self.path.startswith("/cdn/"):
                    return self.send_stored(hub.files[self.path.removeprefix("/cdn/")], body)
                repository, _, rest = self.path.lstrip("/").partition("/resolve/")
                revision, _, file = rest.partition("/")
                about = {"X-Repo-Commit": hub.commit}
                if repository != hub.name:
                    wrong = {"X-Error-Code": "RepoNotFound", "Content-Length": 0}
                elif revision not in ("main", hub.commit):
                    wrong = {"X-Error-Code": "RevisionNotFound", "Content-Length": 0}
                elif file not in hub.files:
                    wrong = {"X-Error-Code": "EntryNotFound", "Content-Length": 0}
                else:
                    wrong = None
                if wrong:
                    return self.reply(404, about | wrong)
                content = hub.files[file]
                if file.endswith(".safetensors"):  # large files lie in a storage of their own
                    about |= {
                        "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                        "X-Linked-Size": len(content),
                        "Location": f"{hub.storage}/cdn/{file}",
                        "Content-Length": 0,
                    }
                    return self.reply(302, about)
                git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                self.reply(200, about | {"ETag": f'"{git}"', "Content-Length": len(content)})
                if body:
                    self.wfile.write(content)

            def send_stored(self, content, body):
                start = 0
                headers = {"Accept-Ranges": "bytes"}
                if asked := self.headers.get("Range"):
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                headers["Content-Length"] = len(content) - start
                self.reply(206 if asked else 200, headers)
                if not body:
                    return
                stop = hub.cut or hub.stall or len(content)
                self.wfile.write(content[start : max(start, stop)])
                if stop < len(content):
                    if hub.stall:
                        hub.released.wait(60)
                    self.close_connection = True

        return Handler


@pytest.fixture
def make_hub():
    hubs = []

    def make(*arguments, **named):
        hubs.append(Hub(*arguments, **named))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()


@pytest.fixture
def hub(make_hub):
    return make_hub(checkpoint())


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str
    seconds: float

    @property
    def found(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def start(tmp_path):
    """Starts a process with a hub's cache of its own; returns what waits for its result."""
    processes = []

    def start(hub, code, *arguments, **env):
        started = time.monotonic()
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
            return Result(process.returncode, out, err, time.monotonic() - started)

        wait.process = process
        return wait

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def find(start):
    def find(hub, name=NAME, *, fetch=True, before="", **env):
        return start(hub, FIND.format(before=before, fetch=fetch), name, **env)()

    return find


@pytest.fixture
def download(start):
    def download(hub, *arguments, name=NAME, before="", **env):
        return start(hub, COMMAND.format(before=before), "--clip", name, *arguments, **env)()

    return download


def write(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def flip(path):
    """Flip a bit of a file's last byte but one."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


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
    before = f"weights.MODEL_BYTES = {len(files['model.safetensors'])}"
    found = find(hub, DEFAULT_CLIP, before=before).found
    assert found["revision"] == REVISION
    asked = [path for _, path, _ in hub.requests if "/resolve/" in path]
    assert len(asked) >= 4
    assert all(f"/resolve/{REVISION}/" in path for path in asked)
    # The size is checked in the cache, too.
    result = find(hub, DEFAULT_CLIP, fetch=False)
    assert result.code == 1
    assert "model.safetensors is damaged: it has 1,1" in result.err
    assert "not 605,157,884" in result.err


def test_other_weights_than_the_pinned_ones_are_not_fetched(make_hub, find, tmp_path):
    hub = make_hub(checkpoint(), name=DEFAULT_CLIP, commit=REVISION)
    result = find(hub, DEFAULT_CLIP)
    assert result.code == 1
    assert f"{hub.endpoint} offers 1,1" in result.err
    assert "605,157,884" in result.err
    assert not list((tmp_path).rglob("*.safetensors"))


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
    assert f"not whole in the cache, {tmp_path / 'hf' / 'hub'} (without {shards[1]})" in result.err
    assert find(hub).found == found
    flip(missing)
    assert f"{shards[1]} is damaged" in find(hub).err


def test_a_token_goes_to_the_hub_alone(make_hub, find):
    hub = make_hub(checkpoint())
    assert find(hub, HF_TOKEN="hf_secret").code == 0
    assert hub.tokens == {("/resolve/", "Bearer hf_secret"), ("/cdn/", None)}


def test_only_what_is_missing_is_fetched(hub, find):
    found = find(hub).found
    Path(found["folder"], "tokenizer.json").resolve().unlink()
    result = find("http://127.0.0.1:9")
    assert result.code == 1
    assert "(without tokenizer.json)" in result.err
    assert find(hub).found == found
    assert len(hub.ranges()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.safetensors": None}, "has no model.safetensors of acme/clip-tiny at main, and a"),
        ({"tokenizer.json": None}, "has no tokenizer.json of acme/clip-tiny"),
    ],
)
def test_a_hub_without_a_file(make_hub, find, change, message):
    files = checkpoint() | {"pytorch_model.bin": b"\x80\x02."}
    hub = make_hub({name: body for name, body in files.items() if name not in change})
    result = find(hub)
    assert result.code == 1
    assert message in result.err
    assert not any("pytorch_model" in path for _, path, _ in hub.requests)


@pytest.mark.parametrize("name", ["no/such", NAME])
@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_hub_that_refuses(hub, find, name, status):
    if status != 404 or name == NAME:
        hub.status = status
    result = find(hub, name)
    assert result.code == 1
    assert hub.endpoint in result.err
    assert "--model light" in result.err
    assert result.seconds < 10
    if status >= 500:
        assert f"HTTP status {status}" in result.err
    elif name != NAME:
        assert "does not know no/such" in result.err


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "what?"])
def test_what_is_neither_a_folder_nor_a_name(hub, find, name):
    result = find(hub, name)
    assert result.code == 2
    assert "give a folder that is here, or a checkpoint's name" in result.err
    assert not hub.requests


# Without a network


def test_offline_with_an_empty_cache(hub, find, tmp_path):
    result = find(hub, HF_HUB_OFFLINE="1")
    assert result.code == 1
    assert f"{NAME} is not in the cache, {tmp_path / 'hf' / 'hub'}" in result.err
    assert "HF_HUB_OFFLINE is set" in result.err
    assert not hub.requests


def test_a_hub_that_can_not_be_reached_is_noticed_within_15_seconds(hub, start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    hub.silent = True
    no_dns = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    waits = {
        "refused": start(closed, FIND.format(before="", fetch=True), DEFAULT_CLIP),
        "silent": start(hub, FIND.format(before="", fetch=True), DEFAULT_CLIP),
        "no_dns": start("http://hub.invalid", FIND.format(before=no_dns, fetch=True), DEFAULT_CLIP),
    }
    results = {name: wait() for name, wait in waits.items()}
    for result in results.values():
        assert result.code == 1
        assert result.seconds < 15
        assert len(result.err.splitlines()) == 1
        for remedy in ("`mmsent download-clip --to DIR`", "--clip DIR", "HF_ENDPOINT", "light"):
            assert remedy in result.err
    assert f"{closed} can't be reached: Connection refused" in results["refused"].err
    assert f"{hub.endpoint} can't be reached: it does not answer" in results["silent"].err
    assert "http://hub.invalid can't be reached: it does not answer" in results["no_dns"].err
    assert results["refused"].seconds < 5


# Interrupted


def test_a_download_that_is_cut_goes_on_where_it_stopped(make_hub, download, find, tmp_path):
    hub = make_hub(checkpoint(LARGE))
    hub.cut = CUT
    result = download(hub)
    assert result.code == 1
    assert f"the download of {NAME} from {hub.endpoint} broke off" in result.err
    assert f"`mmsent download-clip --clip {NAME}` goes on from there" in result.err
    assert find(hub, fetch=False).code == 1
    hub.cut = None
    before = len(hub.ranges())
    assert download(hub).code == 0
    assert hub.ranges()[before:] == ["bytes=10485760-"]
    found = find(hub, fetch=False).found
    assert (tmp_path / found["folder"] / "model.safetensors").read_bytes() == hub.files[
        "model.safetensors"
    ]


def test_a_stalled_download_goes_on_in_the_same_run(make_hub, start, find):
    hub = make_hub(checkpoint(LARGE))
    hub.stall = CUT
    wait = start(hub, COMMAND.format(before=""), "--clip", NAME, HF_HUB_DOWNLOAD_TIMEOUT="1")
    until(lambda: hub.ranges())
    time.sleep(0.5)
    hub.stall = None
    assert wait().code == 0
    assert hub.ranges() == [None, "bytes=10485760-"]
    assert find(hub, fetch=False).code == 0


@pytest.mark.parametrize(
    ("how", "to"),
    [(signal.SIGKILL, None), (signal.SIGKILL, "clip"), (signal.SIGINT, None)],
)
def test_a_killed_download_is_no_checkpoint_and_is_resumed(
    make_hub, start, download, find, tmp_path, how, to
):
    hub = make_hub(checkpoint(LARGE))
    hub.stall = CUT
    arguments = ["--to", to] if to else []
    wait = start(hub, COMMAND.format(before=""), "--clip", NAME, *arguments)
    until(lambda: weights_begun(tmp_path))
    wait.process.send_signal(how)
    assert wait().code != 0
    result = find(hub, to or NAME, fetch=False)
    assert result.code == 1
    assert "model.safetensors" in result.err
    hub.stall = None
    assert download(hub, *arguments).code == 0
    first, second = hub.ranges()
    assert first is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", second)
    found = find(hub, to or NAME, fetch=False).found
    assert (tmp_path / found["folder"] / "model.safetensors").read_bytes() == hub.files[
        "model.safetensors"
    ]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_what_came_damaged_never_gets_its_name(make_hub, download, find, tmp_path):
    hub = make_hub(checkpoint(LARGE))
    hub.cut = CUT
    assert download(hub).code == 1
    [part] = tmp_path.rglob("*.incomplete")
    flip(part)
    hub.cut = None
    result = download(hub)
    assert result.code == 1
    assert "has the SHA-256" in result.err
    assert find(hub, fetch=False).code == 1
    part.write_bytes(bytes(LARGE + MEGABYTE))  # more than there is: nothing to go on from
    assert download(hub).code == 0


def weights_begun(folder):
    """Whether part of the weights is on disk; a small file's part comes and goes beside it."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size > MEGABYTE for path in folder.rglob("*.incomplete"))
    return False


def until(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


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
    assert f"rm {path.resolve()}), then run `mmsent download-clip --clip {NAME}`" in result.err
    assert path.read_bytes() == damaged
    assert len(hub.requests) == asked
    path.resolve().unlink()  # the remedy
    assert find(hub).found == found


def test_a_truncated_file_in_the_cache(hub, find):
    path = Path(find(hub).found["folder"], "model.safetensors")
    os.truncate(path, 1000)
    assert f"{path} is damaged: it has 1,000 bytes; its header says 1,1" in find(hub).err
    os.truncate(path, 4)
    assert f"{path} is damaged: its 4 bytes do not begin as safetensors do" in find(hub).err


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
        ({"model.safetensors": safetensors(1000)[:-1]}, "bytes; its header says"),
        ({"model.safetensors": safetensors(1000) + b"\0"}, "bytes; its header says"),
        ({"model.safetensors": b""}, "its 0 bytes do not begin as safetensors do"),
        ({"model.safetensors": b"\x02" + b"\0" * 7 + b"[]"}, "its header can't be read"),
        ({"model.safetensors": b"\x80\x02" * 100}, "do not begin as safetensors do"),
        ({"model.safetensors": b"version https://git-lfs"}, "`git lfs pull` fetches"),
        ({"config.json": b'{"model_type"'}, "config.json is damaged: it is no JSON"),
        (
            {
                "model.safetensors": None,
                "model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}',
            },
            "is no index of safetensors shards",
        ),
    ],
)
def test_a_folder_that_is_no_whole_checkpoint(tmp_path, change, message):
    files = {name: body for name, body in (checkpoint() | change).items() if body is not None}
    folder = write(tmp_path / "mine", files)
    with pytest.raises(WeightsUnavailable, match=re.escape(message)):
        find_clip(str(folder))


# The command


def test_download_clip_into_the_cache(make_hub, download, find, tmp_path):
    hub = make_hub(checkpoint())
    result = download(hub)
    assert result.code == 0
    assert f"from {hub.endpoint} to {tmp_path / 'hf' / 'hub'}" in result.err
    assert f"was fetched to {tmp_path / 'hf' / 'hub'}" in result.err
    assert f"`mmsent train --model clip --clip {NAME}`" in result.err
    result = download("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert result.code == 0
    assert "is already in" in result.err
    assert result.out == ""


def test_download_clip_into_a_folder(make_hub, download, find, tmp_path):
    hub = make_hub(checkpoint())
    result = download(hub, "--to", "clip")
    assert result.code == 0
    assert "was fetched to clip, whole and verified" in result.err
    assert "`mmsent train --model clip --clip clip`" in result.err
    assert not (tmp_path / "hf" / "hub").exists()
    asked = len(hub.requests)
    result = download(hub, "--to", "clip")
    assert result.code == 0
    assert "is already in clip" in result.err
    assert len(hub.requests) == asked
    found = find(hub, "clip").found
    assert found["sha256"] == sha256(hub.files["model.safetensors"])
    flip(tmp_path / "clip" / "model.safetensors")
    for result in (find(hub, "clip"), download(hub, "--to", "clip")):
        assert result.code == 1
        assert "clip/model.safetensors is damaged: its SHA-256 is" in result.err
        assert f"rm {tmp_path}/clip/model.safetensors), then run `mmsent download" in result.err
    (tmp_path / "clip" / "model.safetensors").unlink()
    assert "it lacks model.safetensors; a download into it" in find(hub, "clip").err
    assert download(hub, "--to", "clip").code == 0
    assert find(hub, "clip").found == found


def test_download_clip_takes_the_cached_files(hub, download, find, tmp_path):
    path = Path(find(hub).found["folder"], "model.safetensors")
    assert download(hub, "--to", "clip").code == 0
    assert len(hub.ranges()) == 1
    assert find(hub, "clip").code == 0
    flip(path)
    result = download(hub, "--to", "other")
    assert result.code == 1
    assert f"{path} is damaged" in result.err
    assert not (tmp_path / "other").exists()


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
    result = download(hub, "--to", "empty", name=DEFAULT_CLIP)
    assert result.code == 2
    assert "empty holds another checkpoint than openai/" in result.err


def test_download_clip_without_a_network(download):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    for arguments in ([], ["--to", "clip"]):
        result = download(closed, *arguments, name=DEFAULT_CLIP)
        assert result.code == 1
        assert f"{closed} can't be reached: Connection refused" in result.err

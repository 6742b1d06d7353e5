"""A local hub that behaves like the real one, and its files."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAME = "acme/clip-tiny"
COMMIT = "5" * 40
MEGABYTE = 1_000_000
LARGE = 24 * MEGABYTE  # more than huggingface_hub's chunk of 10 MiB, which it writes at once
CUT = 15 * MEGABYTE

Files = dict[str, bytes]


def safetensors(size: int, seed: int = 0) -> bytes:
    """The bytes of a safetensors file with one tensor of about ``size`` bytes."""
    block = hashlib.sha256(str(seed).encode()).digest()
    tensor = block * (size // len(block) + 1)
    header = {
        "__metadata__": {"format": "pt"},
        f"weight{seed}": {"dtype": "U8", "shape": [len(tensor)], "data_offsets": [0, len(tensor)]},
    }
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + tensor


def checkpoint(size: int = 1000) -> Files:
    """A checkpoint's files, which only need to look valid."""
    return {
        "config.json": b'{"model_type": "clip"}',
        "preprocessor_config.json": b'{"size": 224}',
        "tokenizer.json": b'{"version": "1.0"}',
        "model.safetensors": safetensors(size),
    }


def sharded() -> Files:
    """A checkpoint with weights in two files, and their index."""
    shards = {f"model-0000{number}-of-00002.safetensors": number for number in (1, 2)}
    index = {"weight_map": {f"weight{number}": shard for shard, number in shards.items()}}
    files = checkpoint() | {"model.safetensors.index.json": json.dumps(index).encode()}
    del files["model.safetensors"]
    return files | {shard: safetensors(500, number) for shard, number in shards.items()}


def write(folder: Path, files: Files) -> Path:
    """Write these files to a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def flip(path: Path, at: int = -2) -> None:
    """Flip a bit in a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def begun(folder: Path) -> bool:
    """Whether part of the weights is on disk; small files also have temporary parts."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size > MEGABYTE for path in folder.rglob("*.incomplete"))
    return False


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


class Hub:
    """A hub on 127.0.0.1 with one checkpoint, and the storage that it redirects to for weights.

    ``cut`` ends the connection at that byte of the weights, and ``stall`` lets it hang there.
    ``silent`` answers no request, and ``status`` answers all with that status. ``claimed`` are
    false SHA-256 sums. ``lacks`` are features that it does not have, as on some mirrors; then it
    redirects every file to another host.
    """

    def __init__(
        self,
        files: Files,
        name: str = NAME,
        commit: str = COMMIT,
        lacks: Sequence[str | tuple[str, str]] = (),
    ) -> None:
        self.files, self.name, self.commit, self.lacks = files, name, commit, lacks
        self.requests: list[tuple[str, str]] = []
        self.claimed: dict[str, str] = {}
        self.asked: list[str | None] = []
        self.tokens: set[tuple[str, str | None]] = set()
        self.sha = commit  # as its listing has it
        self.cut: int | None = None
        self.stall: int | None = None
        self.status: int | None = None
        self.silent = False
        self.released = threading.Event()
        self.server = Server(self)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.storage = self.endpoint.replace("127.0.0.1", "localhost") if lacks else self.endpoint

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def downloads(self) -> int:
        """How often the weights were requested."""
        return self.requests.count(("GET", "/cdn/model.safetensors"))

    def about(self, file: str) -> dict[str, Any]:
        """The API's description of a file: large ones are in Git LFS, named by their SHA-256."""
        content = self.files[file]
        about: dict[str, Any] = {"rfilename": file, "size": len(content)}
        about["blobId"] = git_sha1(content)
        if file.endswith(".safetensors"):
            digest = self.claimed.get(file, sha256(content))
            about["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
        return about


class Server(ThreadingHTTPServer):
    """The hub's server."""

    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """A client was killed."""


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, headers: Mapping[str, object], content: bytes = b"") -> None:
        lacks = self.server.hub.lacks
        self.send_response(status)
        for key, value in ({"Content-Length": len(content)} | dict(headers)).items():
            if key not in lacks and (key, self.command) not in lacks:
                self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer(self) -> None:
        hub = self.server.hub
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

    def known(self, repository: str, revision: str, file: str | None = None) -> bool:
        hub = self.server.hub
        if repository != hub.name:
            wrong: str | None = "RepoNotFound"
        elif revision not in ("main", hub.commit):
            wrong = "RevisionNotFound"
        else:
            wrong = "EntryNotFound" if file and file not in hub.files else None
        if wrong:
            self.reply(404, {"X-Error-Code": wrong})
        return not wrong

    def send_listing(self, repository: str, revision: str) -> None:
        hub = self.server.hub
        if self.known(repository, revision):
            siblings = [hub.about(file) for file in hub.files]
            listing = {"id": hub.name, "sha": hub.sha, "siblings": siblings}
            self.reply(200, {}, json.dumps(listing).encode())

    def send_file(self, repository: str, revision: str, file: str) -> None:
        if not self.known(repository, revision, file):
            return
        hub = self.server.hub
        about, commit = hub.about(file), {"X-Repo-Commit": hub.commit}
        location = {"Location": f"{hub.storage}/cdn/{file}"}
        if "lfs" in about:
            linked = {"X-Linked-Etag": about["lfs"]["sha256"], "X-Linked-Size": about["size"]}
            self.reply(302, commit | linked | location)
        elif hub.lacks:
            linked = {"X-Linked-Etag": about["blobId"], "X-Linked-Size": about["size"]}
            self.reply(307, commit | linked | location)
        else:
            self.reply(200, commit | {"ETag": about["blobId"]}, hub.files[file])

    def send_stored(self, content: bytes) -> None:
        hub, start = self.server.hub, 0
        headers: dict[str, object] = {"Accept-Ranges": "bytes"}
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

"""`mmsent serve` as a process: its output, and signals under load."""

import http.client
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
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import pytest

from tests.runtime.serve.conftest import png
from tests.small_bundle import write_small_bundle

pytest.importorskip("starlette")

from tests.runtime.serve.client import BOUNDARY, Client, form

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

BODY = form("fun", png())
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@contextmanager
def running(*arguments, cwd, prefix=()):
    """The process, the lines that it writes, and a client."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "mmsent", "serve", "--port", "0", *map(str, arguments)],
        cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, preexec_fn=obey_signals,
    )  # fmt: skip
    lines = []
    port = None
    try:
        for line in process.stdout:
            lines.append(line)
            if match := re.search(r"listening on http://127.0.0.1:(\d+)", line):
                port = int(match[1])
                break
        assert port, lines
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        yield process, lines, Client(port, None)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def obey_signals():
    """Undo what `nohup make test` or `make test &` has set: a service would ignore these, too."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Load:
    """Clients that send requests without a pause, over persistent connections."""

    def __init__(self, port, clients=4):
        self.port = port
        self.answers = []
        self.lost = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def work(self):
        while not self.ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                try:
                    connection.connect()
                except OSError:  # the socket is closed: no request was accepted
                    return
                while not self.ended.is_set():
                    try:
                        connection.request("POST", "/predict", BODY, HEADERS)
                        answer = connection.getresponse()
                        content = answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        self.lost.append(repr(error))
                        break
                    self.answers.append((answer.status, content))
                    if answer.will_close:
                        break
            finally:
                connection.close()

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def said(lines, words, times):
    return sum(words in line for line in lines) == times


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def folder(small, tmp_path):
    shutil.copy(small, tmp_path / "model.onnx")
    return tmp_path


def check_sigterm(folder):
    with running(cwd=folder) as (process, lines, client):
        load = Load(client.port)
        wait_for(lambda: len(load.answers) > 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        load.end()
        assert {status for status, _ in load.answers} == {200}
        assert load.lost == []
        assert any(line.startswith("SIGTERM:") for line in lines)


def check_sighup(folder, times):
    """Two bundles alternate; every answer is from one of them, the last from the last."""
    other = write_small_bundle(folder / "other.onnx", optional=("text",))
    first = folder / "first.onnx"
    shutil.copy(folder / "model.onnx", first)
    with running(cwd=folder) as (process, lines, client):
        load = Load(client.port)
        digests = []
        for turn in range(times):
            digests.append(client.post_form("/predict", "fun", png()).json()["model"]["sha256"])
            shutil.copy((other, first)[turn % 2], folder / "next.onnx")
            os.replace(folder / "next.onnx", folder / "model.onnx")
            process.send_signal(signal.SIGHUP)
            wait_for(partial(said, lines, "reloaded", turn + 1))
        load.end()
        assert len(set(digests)) == 2
        assert all(one != next for one, next in pairwise(digests))
        assert {status for status, _ in load.answers} == {200}
        assert load.lost == []
        assert {json.loads(content)["model"]["sha256"] for _, content in load.answers} == set(
            digests
        )


def test_sigterm_answers_requests_in_flight(folder):
    check_sigterm(folder)


def test_sighup_reloads_without_losing_a_request(folder):
    check_sighup(folder, 3)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(20))
def test_sigterm_twenty_times(folder, turn):
    check_sigterm(folder)


@pytest.mark.slow
def test_sighup_twenty_times(folder):
    check_sighup(folder, 20)


DAMAGED = {
    "half": lambda whole: whole[: len(whole) // 2],
    "one bit": lambda whole: whole[:-400] + bytes([whole[-400] ^ 1]) + whole[-399:],
    "empty": lambda whole: b"",
    "something else": lambda whole: b"something else",
    "gone": lambda whole: None,
}


def test_an_incomplete_bundle_is_not_loaded(folder):
    path = folder / "model.onnx"
    whole = path.read_bytes()
    with running(cwd=folder) as (process, lines, client):
        before = client.post_form("/predict", "fun", png()).json()["model"]
        for turn, damage in enumerate(DAMAGED.values(), 1):
            content = damage(whole)
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
            process.send_signal(signal.SIGHUP)
            wait_for(partial(said, lines, "were not changed", turn))
            answer = client.post_form("/predict", "fun", png())
            assert (answer.status, answer.json()["model"]) == (200, before)
        path.write_bytes(whole)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: any("changed: none" in line for line in lines))


def test_a_second_signal_ends_it_immediately(folder):
    with running(cwd=folder) as (process, lines, client):
        with socket.create_connection(("127.0.0.1", client.port)) as stream:
            stream.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            client.get("/healthz")  # afterwards, the other request has arrived, too
            process.send_signal(signal.SIGTERM)
            wait_for(partial(said, lines, "answering the open requests, then", 1))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
        wait_for(partial(said, lines, "without answering the open requests", 1))


def test_json_lines(folder):
    with running("--log-json", cwd=folder) as (process, lines, client):
        client.post_form("/predict", "fun", png())
        client.get("/nothing")
        start = f"--{BOUNDARY}\r\nContent;Disposition: form-data\r\n".encode()
        client.post("/predict", start, HEADERS["content-type"]).problem(400)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        wait_for(lambda: any("SIGINT" in line for line in lines))
    entries = [json.loads(line) for line in lines]
    assert {"time", "level", "logger"} <= set.intersection(*map(set, entries))
    requests = [
        (entry["route"], entry["status"], entry["pairs"]) for entry in entries if "route" in entry
    ]
    assert requests == [("/predict", 200, 1), ("none", 404, 0), ("/predict", 400, 0)]


def test_nohup_keeps_it_alive(folder):
    if shutil.which("nohup") is None:
        pytest.skip("nohup is not here")
    with running(cwd=folder, prefix=["nohup"]) as (process, _, client):
        process.send_signal(signal.SIGHUP)
        assert client.get("/readyz").status == 200


def refusal(run_command, folder, *arguments):
    result = run_command("mmsent", "serve", "--port", 0, *arguments, cwd=folder)
    assert result.code == 2, result.err
    assert len(result.err.splitlines()) == 1
    return result.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no.onnx"], "no.onnx does not exist"),
        (["a=model.onnx", "a=model.onnx"], "two models have the name a"),
        (["a/b=model.onnx"], "NAME=FILE"),
        (["=model.onnx"], "NAME=FILE"),
        (["--host", "256.256.256.256"], "can't listen on 256.256.256.256"),
        (["--host", "256.256.256.256"], "use another --host"),
        (["--cors", "https://example.org/"], "--cors https://example.org/: "),
        (["--cors", "example.org"], "--cors example.org: "),
        (["--cors", "https://Example.org"], "--cors https://Example.org: "),
        (["--api-key-file", "none.txt"], "none.txt"),
        (["--api-key-file", "empty.txt"], "contains no key"),
        (["--api-key-file", "utf-16.txt"], "save it as UTF-8"),
        (["--api-key-file", "accent.txt"], "use only ASCII"),
        (["pipe"], "pipe is not a regular file"),
    ],
)
def test_refusals(run_command, folder, arguments, reason):
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "utf-16.txt").write_text("key", encoding="utf-16")
    (folder / "accent.txt").write_text("clé", encoding="utf-8")
    os.mkfifo(folder / "pipe")
    assert reason in refusal(run_command, folder, *arguments)


def test_a_port_that_is_taken(run_command, folder):
    with running(cwd=folder) as (_, _, client):
        assert "use another --port" in refusal(run_command, folder, "--port", client.port)


def test_a_damaged_bundle(run_command, folder):
    content = DAMAGED["one bit"]((folder / "model.onnx").read_bytes())
    (folder / "model.onnx").write_bytes(content)
    assert "model.onnx" in refusal(run_command, folder)

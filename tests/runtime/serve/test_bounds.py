"""Hostile and slow clients, on raw sockets."""

import json
import logging
import socket
import struct
import time
import zlib

import pytest

from tests.runtime.serve.conftest import in_base64, png

pytest.importorskip("starlette")

from mmsent.serve import body, connection, exchange
from tests.runtime.serve.client import opened

LIMIT = 1 << 16
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
def client(small, monkeypatch):
    monkeypatch.setattr(body, "MAX_BODY_BYTES", LIMIT)
    monkeypatch.setattr(exchange, "DISCARD_SECONDS", 0.2)
    with opened(small=small) as client:
        yield client
        assert client.post_form("/predict", "fun", None).status == 200
        assert client.service.held.total == 0


def connect(client):
    return socket.create_connection(("127.0.0.1", client.port), timeout=30)


def read_all(stream):
    """Everything received until the connection ends, closed or reset."""
    received = b""
    try:
        while data := stream.recv(1 << 16):
            received += data
    except ConnectionError:
        pass
    return received


def exchange_bytes(client, *parts):
    with connect(client) as stream:
        try:
            for part in parts:
                stream.sendall(part)
        except ConnectionError:
            pass
        return read_all(stream)


def status_of(received):
    assert received.startswith(b"HTTP/1.1 "), received
    return int(received.split()[1])


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 62, 10**19, 10**4000])
def test_a_declared_size_is_refused_before_anything_is_read(client, size):
    received = exchange_bytes(client, HEAD + b"Content-Length: %d\r\n\r\n" % size)
    assert status_of(received) in (413, 400)  # h11 refuses 10**4000 itself
    if size < 1 << 63:
        assert status_of(received) == 413


def test_expect_continue_is_refused_if_the_body_is_too_large(client):
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1)
    assert status_of(exchange_bytes(client, head)) == 413


def test_a_client_that_sends_too_much_can_read_the_answer(client):
    data = b"a" * (20 * LIMIT)
    received = exchange_bytes(client, HEAD + b"Content-Length: %d\r\n\r\n" % len(data), data)
    assert status_of(received) == 413
    assert b"application/problem+json" in received


def test_endless_chunks(client):
    chunk = b"1000\r\n" + b"a" * 0x1000 + b"\r\n"
    received = exchange_bytes(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk * 10_000)
    assert status_of(received) == 413
    assert client.service.held.total == 0


@pytest.mark.parametrize(
    "data",
    [b"ffffffffffffffffffffff\r\n", b"-1\r\n", b"1;" + b"x" * (1 << 17) + b"\r\na\r\n", b"z\r\n"],
    ids=["huge", "negative", "a long extension", "no number"],
)
def test_odd_chunks(client, data):
    received = exchange_bytes(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + data)
    assert received == b"" or status_of(received) in (400, 408, 413)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(100_000)),
        HEAD + b"X: " + b"a" * (1 << 20),
        b"GET /" + b"a" * (1 << 20),
        b"\x16\x03\x01" * 100,
        b"\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    ],
    ids=["many headers", "a long header", "a long path", "TLS", "nothing", "two lengths", "gzip"],
)
def test_malformed_heads(client, head):
    received = exchange_bytes(client, head)
    assert received == b"" or status_of(received) in (400, 501)
    if status_of(received or b"HTTP/1.1 0") == 400:
        head, _, problem = received.partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head
        assert json.loads(problem)["status"] == 400


def test_too_many_connections(client, monkeypatch):
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with monkeypatch.context() as patched, connect(client) as first:
        patched.setattr(connection, "MAX_CONNECTIONS", 1)
        received = exchange_bytes(client, request)
        assert status_of(received) == 503
        assert b"retry-after: 1\r\n" in received
        assert b"application/problem+json" in received
        first.sendall(request)
        assert status_of(first.recv(1 << 16)) == 200


def test_a_body_with_two_lengths_ends_the_connection(client):
    """A proxy that reads the other length sends the rest as a part of the body."""
    head = HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = exchange_bytes(client, head + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(received) == 400
    assert b"both Content-Length and Transfer-Encoding" in received
    assert b"live" not in received


def test_a_client_that_sends_nothing(client, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    assert exchange_bytes(client) == b""
    assert exchange_bytes(client, HEAD) == b""


def test_a_client_whose_second_head_is_slow(client, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    received = exchange_bytes(client, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /hea")
    assert status_of(received) == 200
    assert received.count(b"HTTP/1.1") == 1


def test_a_slow_body(client, monkeypatch):
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    start = time.monotonic()
    received = exchange_bytes(client, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert status_of(received) == 408
    assert time.monotonic() - start < 20


def test_a_client_that_reads_no_answer(client, monkeypatch):
    """Pipelined requests whose answers fill the socket's buffers."""
    monkeypatch.setattr(connection, "EXCHANGE_SECONDS", 0.5)
    with connect(client) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.settimeout(0.5)
        requests = b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 200_000
        with pytest.raises((TimeoutError, ConnectionError)):
            stream.sendall(requests)
        deadline = time.monotonic() + 20
        while client.service.in_flight and time.monotonic() < deadline:
            time.sleep(0.05)
    assert client.service.in_flight == 0


def test_the_memory_of_bodies_is_bounded(client, monkeypatch):
    monkeypatch.setattr(body, "MAX_HELD_BYTES", LIMIT)
    part = HEAD + b"Content-Length: %d\r\n\r\n" % LIMIT + b"a" * (LIMIT // 2 - 10)
    with connect(client) as one, connect(client) as two:
        one.sendall(part)
        two.sendall(part)
        deadline = time.monotonic() + 20
        while client.service.held.total < LIMIT - 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = client.post_json("/predict", {"text": "fun " * 40})
        answer.problem(503)
        assert "retry-after" in answer.headers


def test_pipelined_requests_are_answered_in_order(client):
    text = json.dumps({"text": "fun"}).encode()
    ask = HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text
    ready = b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    received = exchange_bytes(client, ask + ask + ready)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.endswith(b'{"ready": true}')


def bomb(edge: int) -> bytes:
    """A PNG of one kilobyte that claims edge x edge pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 7501 * 100, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)


@pytest.mark.parametrize(
    ("edge", "reason"), [(10_000, "too large"), (60_000, "exceeds limit"), (1 << 31, "decoded")]
)
def test_an_image_that_is_a_bomb(client, edge, reason):
    answer = client.post_form("/predict", "fun", bomb(edge))
    assert reason in answer.problem(422)["detail"]
    answer = client.post_json("/predict", {"image": in_base64(bomb(edge))})
    assert reason in answer.problem(422)["detail"]


SECRET = "a-secret-text"


def test_logs_do_not_contain_contents_of_requests(client, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    client.post_form("/predict", SECRET, png())
    client.post_form(f"/predict?text={SECRET}", SECRET, png())
    client.post_form("/predict", SECRET, SECRET.encode())
    client.post_json("/predict", {"text": SECRET + "\ud800"})
    client.post_json("/predict", {SECRET: SECRET, "image": SECRET})
    client.post("/predict", SECRET.encode(), SECRET)
    client.get(f"/{SECRET}")
    client.get(f"/v2/models/{SECRET}/{SECRET}")
    client.get("/healthz", authorization=SECRET, x_api_key=SECRET)

    async def fail(*arguments):
        raise RuntimeError(SECRET)

    monkeypatch.setattr(client.service, "predict", fail)
    answer = client.post_form("/predict", SECRET, None)
    answer.problem(500)
    assert SECRET.encode() not in answer.content
    monkeypatch.undo()
    assert SECRET not in caplog.text
    assert "RuntimeError at" in caplog.text
    assert "POST /predict 422" in caplog.text

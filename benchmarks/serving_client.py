"""Clients of a service, in one process; prints JSON. See serving.py.

    python benchmarks/serving_client.py PORT DATASET_FOLDER CLIENTS SECONDS

Each client has a connection and sends its next request as soon as it has an answer. All of them are
in one thread that waits for any socket, with requests prepared in advance, so that they use little
CPU time.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST

BOUNDARY = "a-boundary-that-no-image-holds"


@dataclass
class Client:
    """One connection, and its open request."""

    stream: socket.socket
    place: int = -1
    started: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)


def main() -> None:
    """Send requests for some seconds, after one round that does not count."""
    port, folder, clients, seconds = sys.argv[1:]
    requests = make_requests(Path(folder))
    warm_up = ask(int(port), requests, int(clients), seconds=60, rounds=64)
    asked = ask(int(port), requests, int(clients), seconds=float(seconds))
    print(json.dumps(asked | {"warm_up": warm_up["requests"]}))


def make_requests(folder: Path) -> list[bytes]:
    """A form for each pair of the unlabelled list."""
    requests = []
    for row in open_dataset(folder / TEST_LIST).rows():
        body = form(row.read_text(), row.read("image"))
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


def form(text: str, image: bytes) -> bytes:
    """A pair as multipart/form-data."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    return b"".join(
        [
            f'{part}text"\r\n\r\n{text}\r\n'.encode(),
            f'{part}image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode(),
            image,
            f"\r\n--{BOUNDARY}--\r\n".encode(),
        ]
    )


class Crowd:
    """Clients that send ``requests`` in turn, and their answers."""

    def __init__(self, port: int, requests: list[bytes], count: int) -> None:
        self.requests = requests
        self.selector = selectors.DefaultSelector()
        self.spent: list[float] = []
        self.failures: list[str] = []
        self.labels: dict[int, str] = {}
        self.asked = 0
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port))
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.setblocking(False)
            client = Client(stream)
            self.selector.register(stream, selectors.EVENT_READ, client)
            self.begin(client)

    def begin(self, client: Client) -> None:
        """Let a client send the next request."""
        client.place = self.asked % len(self.requests)
        self.asked += 1
        client.unsent = memoryview(self.requests[client.place])
        client.received.clear()
        client.started = time.perf_counter()
        self.push(client)

    def push(self, client: Client) -> None:
        """Send what the socket accepts, and wait for the next event."""
        with suppress(BlockingIOError):
            client.unsent = client.unsent[client.stream.send(client.unsent) :]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        if self.selector.get_key(client.stream).events != wanted:
            self.selector.modify(client.stream, wanted, client)

    def pull(self, client: Client) -> None:
        """Receive; store a complete answer, and let the client send its next request."""
        data = client.stream.recv(1 << 16)
        if not data:
            raise SystemExit("the service closed a connection")
        client.received += data
        content = whole_answer(client.received)
        if content is None:
            return
        self.spent.append(time.perf_counter() - client.started)
        if client.received.startswith(b"HTTP/1.1 200"):
            self.labels[client.place] = json.loads(content)["label"]
        else:
            self.failures.append(content.decode(errors="replace"))
        self.begin(client)

    def work(self, seconds: float, rounds: int) -> float:
        """Send requests for some seconds, or until ``rounds`` are answered; the seconds."""
        start = time.perf_counter()
        while True:
            for key, events in self.selector.select(60):
                if events & selectors.EVENT_WRITE:
                    self.push(key.data)
                if events & selectors.EVENT_READ:
                    self.pull(key.data)
            elapsed = time.perf_counter() - start
            if elapsed >= seconds or len(self.spent) >= rounds:
                break
        for key in list(self.selector.get_map().values()):
            key.data.stream.close()
        self.selector.close()
        return elapsed


def ask(
    port: int, requests: list[bytes], count: int, *, seconds: float, rounds: int = 1 << 60
) -> dict[str, object]:
    """The answers to ``count`` clients in some seconds, or to ``rounds`` requests."""
    crowd = Crowd(port, requests, count)
    elapsed = crowd.work(seconds, rounds)
    return {
        "requests": len(crowd.spent),
        "seconds": elapsed,
        "median_ms": 1000 * statistics.median(crowd.spent),
        "p99_ms": 1000 * sorted(crowd.spent)[int(0.99 * len(crowd.spent))],
        "failures": crowd.failures,
        "labels": crowd.labels,
    }


def whole_answer(received: bytearray) -> bytes | None:
    """The body of an answer, once it is complete."""
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return body if len(body) >= int(line.split(b":")[1]) else None
    return None


if __name__ == "__main__":
    main()

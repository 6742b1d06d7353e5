"""Mixed load on `mmsent serve`: valid, bad, aborted and slow requests; answers and memory.

    python benchmarks/serving_soak.py --data DIR --bundle model.onnx --minutes 10

One request in twenty is bad, one in twenty is aborted, and one in fifty is sent slowly. Every valid
request must get SentimentModel's label, and every bad one its own status. Prints wrong and lost
answers, and how the service's memory grew after the first minute (Linux); exits with 1 if an answer
was wrong or lost, or memory grew by 20 MB.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from serving import free_port, serving
from serving_client import BOUNDARY, form

from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST

FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"
MAX_GROWTH_MB = 20
BAD = [
    (400, JSON, b'{"text": "a'),
    (400, FORM, b"no form"),
    (415, "text/plain", b"what a day"),
    (422, JSON, b'{"image": "bm8gaW1hZ2U="}'),
    (422, JSON, b'{"image": "http://127.0.0.1/a.png"}'),
    (422, JSON, b"{}"),
    (422, FORM, form("a text", b"no image")),
    (413, JSON, b" " * (97 << 20)),
]
"""The status, the media type and the body of bad requests; the last one is rare."""


@dataclass
class Load:
    """The state that all clients share."""

    port: int
    sound: list[tuple[bytes, str]]
    ended: threading.Event = field(default_factory=threading.Event)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def main() -> None:
    """Run the load, and check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=12)
    options = parser.parse_args()
    rows = [
        (row.read_text(), row.read("image"))
        for row in open_dataset(options.data / TEST_LIST).rows()
    ]
    model = SentimentModel(options.bundle)
    labels = [prediction.label for prediction in model.predict(*map(list, zip(*rows)))]
    sound = [(form(*row), label) for row, label in zip(rows, labels)]
    port = free_port()
    with serving("-m", "mmsent", "serve", options.bundle, "--port", port, port=port) as process:
        load = Load(port, sound)
        clients = [
            threading.Thread(target=ask, args=(load, random.Random(number)))
            for number in range(options.clients)
        ]
        for client in clients:
            client.start()
        memory = watch(process, 60 * options.minutes)
        load.ended.set()
        for client in clients:
            client.join()
    judge(load, memory)


def watch(process: int, seconds: float) -> list[tuple[float, float]]:
    """The resident memory of a process in MB every few seconds, by time."""
    start, memory = time.monotonic(), []
    while (elapsed := time.monotonic() - start) < seconds:
        status = Path(f"/proc/{process}/status").read_text()
        (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
        memory.append((elapsed, int(kilobytes) / 1000))
        time.sleep(min(5.0, seconds / 20))
    return memory


def judge(load: Load, memory: list[tuple[float, float]]) -> None:
    """Print the counts; exit with 1 if a goal is missed."""
    first = min(60.0, memory[-1][0] / 4)
    after = [used for elapsed, used in memory if elapsed >= first]
    # Between the tenths at both ends: a request of the maximum size is a peak, not a leak.
    tenth = max(1, len(after) // 10)
    growth = min(after[-tenth:]) - min(after[:tenth])
    print(", ".join(f"{name} {count}" for name, count in sorted(load.counts.items())))
    print(f"wrong or lost: {len(load.faults)}", *load.faults[:10], sep="\n  ")
    print(
        f"memory: {after[0]:.0f} MB after {first:.0f} s, {after[-1]:.0f} MB at the end, "
        f"highest {max(after):.0f} MB; growth {growth:.1f} MB (under {MAX_GROWTH_MB})"
    )
    if load.faults or growth >= MAX_GROWTH_MB:
        sys.exit(1)


def ask(load: Load, chance: random.Random) -> None:
    """One client, which sends requests of random kinds one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=60)
    while not load.ended.is_set():
        draw = chance.random()
        body, label = chance.choice(load.sound)
        if draw < 0.05:
            status, content_type, bad = chance.choices(BAD, [10] * (len(BAD) - 1) + [1])[0]
            check(load, connection, bad, content_type, status, None)
        elif draw < 0.10:
            abort(load, body, chance)
        elif draw < 0.12:
            trickle(load, body, label, chance)
        else:
            check(load, connection, body, FORM, 200, label)
    connection.close()


def check(
    load: Load,
    connection: http.client.HTTPConnection,
    body: bytes,
    content_type: str,
    status: int,
    label: str | None,
) -> None:
    """Send a request, and compare the answer."""
    try:
        connection.request("POST", "/predict", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        if status == 413:  # it may close before everything is sent
            load.counts["413, closed"] += 1
        else:
            load.faults.append(f"lost: {error!r}")
        return
    load.counts[f"{answer.status}"] += 1
    if answer.status != status or (label is not None and content["label"] != label):
        load.faults.append(f"{status} {label} was {answer.status}: {content}")


def head_of(body: bytes) -> bytes:
    """The head of a request with this body."""
    return (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: {FORM}\r\nConnection: close\r\n\r\n"
    ).encode()


def abort(load: Load, body: bytes, chance: random.Random) -> None:
    """Disconnect in the middle of a request, or before its answer."""
    request = head_of(body) + body
    with socket.create_connection(("127.0.0.1", load.port), timeout=60) as stream:
        stream.sendall(request[: chance.randrange(len(request) + 1)])
    load.counts["aborted"] += 1


def trickle(load: Load, body: bytes, label: str, chance: random.Random) -> None:
    """Send a request in pieces, with pauses of some seconds in all."""
    request = head_of(body) + body
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", load.port), timeout=60) as stream:
            for place in range(0, len(request), len(request) // 8 + 1):
                stream.sendall(request[place : place + len(request) // 8 + 1])
                time.sleep(chance.random() / 2)
            while data := stream.recv(1 << 16):
                received += data
        content = json.loads(received.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError) as error:
        load.faults.append(f"a slow request was lost: {error!r}")
        return
    load.counts["slow"] += 1
    if content.get("label") != label:
        load.faults.append(f"a slow request's {label} was {content}")


if __name__ == "__main__":
    main()

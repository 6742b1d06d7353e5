"""Concurrent requests in batches: waiting, refused and abandoned ones."""

import concurrent.futures
import socket
import threading
import time
from contextlib import contextmanager
from typing import ClassVar

import pytest

from mmsent import MmsentError, SentimentModel
from tests.runtime.serve.conftest import png

pytest.importorskip("starlette")

from mmsent.serve import batcher, models
from mmsent.serve.service import Settings
from tests.runtime.serve.client import BOUNDARY, form, opened

BROKEN = 13
"""The brightness of the image that the model below fails on."""


class Gated(SentimentModel):
    """A model that waits for a gate to open, and fails on one image."""

    gate: ClassVar = threading.Event()
    batches: ClassVar = []

    def run(self, ids, pixels):
        self.batches.append([len(text) for text in ids])
        assert self.gate.wait(60)
        if (pixels == BROKEN).any():
            raise MmsentError("the bundle's graph fails")
        return super().run(ids, pixels)


@pytest.fixture(autouse=True)
def gated(monkeypatch):
    Gated.gate = threading.Event()
    Gated.batches = []
    monkeypatch.setattr(models, "SentimentModel", Gated)
    yield Gated
    Gated.gate.set()


@contextmanager
def busy(small, **settings):
    """A service with one worker, which is busy with one pair until the gate opens."""
    with opened(Settings(threads=1, **settings), small=small) as client, pool(1) as first:
        begun = first.submit(client.post_form, "/predict", "fun", None)
        until(lambda: Gated.batches)
        try:
            yield client
        finally:
            Gated.gate.set()
        assert begun.result().status in (200, 503)


def pool(size):
    return concurrent.futures.ThreadPoolExecutor(size)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_waiting_pairs_are_batched_by_length(small):
    texts = ["fun", "fun fun fun"] * 4
    with busy(small) as client, pool(8) as clients:
        answers = [clients.submit(client.post_form, "/predict", text, png()) for text in texts]
        until(lambda: client.service.waiting == 8)
        Gated.gate.set()
        assert [answer.result().status for answer in answers] == [200] * 8
        first, short, long = Gated.batches
        assert len(first) == 1
        assert len(short) == len(long) == 4
        assert max(short) < min(long)


def test_a_full_queue_refuses(small):
    with busy(small, queue=3) as client, pool(3) as clients:
        waiting = [clients.submit(client.post_form, "/predict", "fun", None) for _ in range(3)]
        until(lambda: client.service.waiting == 3)
        answer = client.post_form("/predict", "fun", None)
        assert "3 pairs are waiting" in answer.problem(503)["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        Gated.gate.set()
        assert [each.result().status for each in waiting] == [200] * 3
        assert client.post_form("/predict", "fun", None).status == 200


def test_a_request_larger_than_the_queue(small):
    Gated.gate.set()
    with opened(Settings(threads=1, queue=2), small=small) as client:
        answer = client.post_json("/predict", {"pairs": [{"text": "fun"}] * 3})
        assert "has room for 2 pairs" in answer.problem(422)["detail"]


def test_a_request_that_waits_too_long(small):
    with busy(small, seconds=0.2) as client:
        answer = client.post_form("/predict", "fun", None)
        assert "within 0.2 seconds" in answer.problem(503)["detail"]
        assert client.service.waiting == 0
        Gated.gate.set()
    assert len(Gated.batches) == 1


def test_pairs_of_a_disconnected_client_are_not_computed(small):
    with busy(small) as client:
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            body = form("fun", png())
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
                b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n%s"
                % (len(body), BOUNDARY.encode(), body)
            )
            until(lambda: client.service.waiting == 1)
        until(lambda: client.service.waiting == 0)
        Gated.gate.set()
    assert len(Gated.batches) == 1
    assert 'status="499"' in "".join(client.service.requests.lines())


def test_a_pair_that_fails_does_not_affect_its_batch(small):
    images = [png(20), png(BROKEN), png(30), b"no image"]
    with busy(small) as client, pool(4) as clients:
        answers = [clients.submit(client.post_form, "/predict", "fun", image) for image in images]
        until(lambda: client.service.waiting == 4)
        Gated.gate.set()
        assert [answer.result().status for answer in answers] == [200, 500, 200, 422]


def test_a_worker_survives_a_lack_of_memory(small, monkeypatch):
    def load_text(pair, info):
        raise MemoryError

    Gated.gate.set()
    with opened(Settings(threads=1), small=small) as client:
        with monkeypatch.context() as patched:
            patched.setattr(batcher, "load_text", load_text)
            client.post_form("/predict", "fun", None).problem(500)
        assert client.post_form("/predict", "fun", None).status == 200


def test_two_models_share_no_batch(small, strict):
    Gated.gate.set()
    plain = {name: SentimentModel(path) for name, path in (("small", small), ("strict", strict))}
    with opened(Settings(threads=1), small=small, strict=strict) as client, pool(8) as clients:
        asked = [("small", "strict")[number % 2] for number in range(24)]
        answers = clients.map(
            lambda name: client.post_form(f"/predict?model={name}", "fun", png()), asked
        )
        for name, answer in zip(asked, answers, strict=True):
            assert answer.json()["model"]["name"] == name
            assert answer.json()["label"] == plain[name].predict("fun", png()).label


def test_shutdown_answers_waiting_requests(small):
    with opened(Settings(threads=1), small=small) as client, pool(5) as clients:
        answers = [clients.submit(client.post_form, "/predict", "fun", None)]
        until(lambda: Gated.batches)
        answers += [clients.submit(client.post_form, "/predict", "fun", None) for _ in range(4)]
        until(lambda: client.service.waiting == 4)
        threading.Timer(0.3, Gated.gate.set).start()
    assert [answer.result().status for answer in answers] == [200] * 5

"""Combine the pairs of concurrent requests into batches: a bounded queue, and worker threads.

A worker takes a batch from image files to probabilities on one core, like `mmsent-infer`, so that
one worker decodes while another computes. While all workers are busy, pairs wait, and the next free
worker takes them together. After a batch of several pairs, a worker also waits up to ``LINGER`` for
more, since clients that were answered together send their next requests together. A request that
arrives alone never waits. A pair's result does not depend on its batch.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmsent.data.pair import Pair
from mmsent.errors import MmsentError, Problem, Shortage
from mmsent.files.shortage import raise_shortage
from mmsent.predict.batches import (
    BATCH_SIZE,
    Batch,
    Outcome,
    Prediction,
    load_pixels,
    predict_batch,
    predict_window,
)
from mmsent.predict.missing import load_text
from mmsent.serve.log import place_of
from mmsent.serve.models import Loaded

LINGER = 0.002
"""The longest time that a worker waits for a batch to fill, in seconds."""
RUN_SIZE = BATCH_SIZE // 2
"""Pairs of a batch that are computed together, with texts of similar length.

A batch takes pairs as they come, so their texts differ in length. In one run, an eighth of the work
of the compact model would be padding.
"""

logger = logging.getLogger(__name__)

Answer = Prediction | Problem | MmsentError
"""A prediction, a problem with the pair, or a failure of the service."""


class QueueFull(Exception):
    """The queue is full."""


@dataclass(eq=False, slots=True)
class Request:
    """The pairs of one request; ``answers`` are in their order, ``done`` is set with the last one.

    Create it in a running event loop.
    """

    model: Loaded
    pairs: Sequence[Pair]
    answers: dict[int, Answer] = field(default_factory=dict)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def add(self, index: int, answer: Answer) -> None:
        """Store an answer; call it only in the event loop's thread."""
        self.answers[index] = answer
        if len(self.answers) == len(self.pairs) and not self.done.done():
            self.done.set_result(None)


@dataclass(eq=False, slots=True)
class _Job:
    """A pair in the queue."""

    request: Request
    index: int

    @property
    def pair(self) -> Pair:
        return self.request.pairs[self.index]


class Batcher:
    """Workers over one bounded queue. Call all methods in the event loop's thread."""

    def __init__(
        self, *, workers: int, capacity: int, observe: Callable[[int, float], None] | None = None
    ) -> None:
        """Start ``workers`` threads; at most ``capacity`` pairs may wait.

        ``observe`` is called in the event loop's thread after every batch, with its number of pairs
        and its duration in seconds.
        """
        self.capacity = capacity
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._idle = 0
        self._closed = False
        self._workers = [
            threading.Thread(target=self._work, name=f"predict-{number}", daemon=True)
            for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """The number of pairs that wait for a worker."""
        return len(self._waiting)

    def submit(self, request: Request) -> None:
        """Queue the pairs of a request. Raises QueueFull if there is no room for all of them."""
        jobs = [_Job(request, index) for index in range(len(request.pairs))]
        with self._changed:
            if len(self._waiting) + len(jobs) > self.capacity:
                raise QueueFull
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))

    def cancel(self, request: Request) -> None:
        """Remove a request's pairs from the queue, because its client has disconnected."""
        with self._changed:
            self._waiting = deque(job for job in self._waiting if job.request is not request)

    def close(self) -> None:
        """Let the workers finish the queue, and wait for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        several = False
        while jobs := self._take(linger=several):
            several = len(jobs) > 1
            start = time.perf_counter()
            answers = _answer(jobs, alone=not several and self._idle == len(self._workers) - 1)
            seconds = time.perf_counter() - start
            self._loop.call_soon_threadsafe(self._deliver, jobs, answers, seconds)

    def _take(self, *, linger: bool) -> list[_Job]:
        """The next batch, of pairs for one model; empty if the batcher is closed.

        If other workers are idle, each gets its share of the queue.
        """
        with self._changed:
            self._idle += 1
            try:
                while True:
                    self._changed.wait_for(lambda: self._waiting or self._closed)
                    if linger and not self._closed:
                        self._changed.wait_for(self._full, LINGER)
                    if self._waiting:
                        break
                    if self._closed:
                        return []
                size = min(BATCH_SIZE, math.ceil(len(self._waiting) / self._idle))
                model = self._waiting[0].request.model
                jobs: list[_Job] = []
                rest: deque[_Job] = deque()
                while self._waiting and len(jobs) < size:
                    job = self._waiting.popleft()
                    (jobs if job.request.model is model else rest).append(job)
                self._waiting.extendleft(reversed(rest))
                if self._waiting:  # a worker that waited may have consumed another's notification
                    self._changed.notify()
                return jobs
            finally:
                self._idle -= 1

    def _full(self) -> bool:
        return self._closed or len(self._waiting) >= BATCH_SIZE * max(1, self._idle)

    def _deliver(self, jobs: Sequence[_Job], answers: Sequence[Answer], seconds: float) -> None:
        for job, answer in zip(jobs, answers):
            job.request.add(job.index, answer)
        if self._observe:
            self._observe(len(jobs), seconds)


def _answer(jobs: Sequence[_Job], *, alone: bool) -> Sequence[Answer]:
    """An answer for each job, whatever happens. If a batch fails, each pair is predicted alone.

    ``alone``: no other pair is in the service, so this one is computed on all cores.
    """
    loaded = jobs[0].request.model
    model = loaded.on_all_cores if alone else loaded.on_one_core

    def predict(batch: Batch) -> Sequence[Outcome | None]:
        pixels = (load_pixels(jobs[index].pair, model.info.image) for index in batch.indices)
        return predict_batch(model, batch, pixels)

    try:
        texts = [load_text(job.pair, model.info) for job in jobs]
        outcomes = list(predict_window(model, texts, predict, batch_size=RUN_SIZE))
    except Exception as error:
        if len(jobs) > 1:
            return [answer for job in jobs for answer in _answer([job], alone=False)]
        return [_failure(error)]
    return [outcome for outcome in outcomes if outcome is not None]  # every pair has one


def _failure(error: Exception) -> MmsentError:
    """The answer if the service itself failed; unexpected errors are logged."""
    try:
        raise_shortage(error)
    except Shortage as shortage:
        error = shortage
    if isinstance(error, MmsentError):
        return error
    logger.error("a prediction failed: %s", place_of(error))
    return MmsentError("the prediction failed; see the service's log")

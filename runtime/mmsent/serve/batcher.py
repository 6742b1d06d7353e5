"""Pairs of concurrent requests become batches: a bounded queue, and workers that empty it.

A worker carries a batch from files to probabilities on one core, as `mmsent-infer` does, so that
one decodes while another computes. Batches form by themselves: what arrives while every worker
computes waits, and the next free one takes it together. After a batch of several a worker also
waits ``LINGER`` for more, since clients that were answered together ask again together; a client
that is alone never waits. A pair's answer does not depend on its batch.
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
"""Seconds that a worker waits at most for a batch to fill."""
RUN_SIZE = BATCH_SIZE // 2
"""Pairs of a batch that are computed together, those with similarly long texts.

A batch takes pairs as they come, so their texts differ in length. In one run, an eighth of what
compact computes is padding.
"""

logger = logging.getLogger(__name__)

Answer = Prediction | Problem | MmsentError
"""A prediction, what is wrong with the pair, or what is wrong with the service."""


class QueueFull(Exception):
    """As many pairs wait as may."""


@dataclass(eq=False, slots=True)
class Request:
    """The pairs of one request; ``answers`` are by their places, ``done`` is set with the last.

    It is made where an event loop runs.
    """

    model: Loaded
    pairs: Sequence[Pair]
    answers: dict[int, Answer] = field(default_factory=dict)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def add(self, index: int, answer: Answer) -> None:
        """Keep an answer; in the event loop's thread alone."""
        self.answers[index] = answer
        if len(self.answers) == len(self.pairs) and not self.done.done():
            self.done.set_result(None)


@dataclass(eq=False, slots=True)
class _Job:
    """One pair that waits."""

    request: Request
    index: int

    @property
    def pair(self) -> Pair:
        return self.request.pairs[self.index]


class Batcher:
    """Workers over one bounded queue. All methods are called in the event loop's thread."""

    def __init__(
        self, *, workers: int, capacity: int, observe: Callable[[int, float], None] | None = None
    ) -> None:
        """Start ``workers`` threads; at most ``capacity`` pairs wait.

        ``observe`` is told of every batch, in the event loop's thread: how many pairs it had, and
        the seconds that it took.
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
        """How many pairs wait for a worker."""
        return len(self._waiting)

    def submit(self, request: Request) -> None:
        """Queue the pairs of a request. Raises QueueFull where not all of them have room."""
        jobs = [_Job(request, index) for index in range(len(request.pairs))]
        with self._changed:
            if len(self._waiting) + len(jobs) > self.capacity:
                raise QueueFull
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))

    def cancel(self, request: Request) -> None:
        """Drop what of a request still waits: nobody wants the answer any more."""
        with self._changed:
            self._waiting = deque(job for job in self._waiting if job.request is not request)

    def close(self) -> None:
        """Let the workers end with what is queued, and wait for them."""
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
        """The next batch, of pairs for one model; none where the batcher is closed.

        Where other workers have nothing to do, each gets its share of what waits.
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
                if self._waiting:  # a worker that lingered may have taken another's notice
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
    """An answer for each job, whatever happens; where a batch fails, each of its pairs by itself.

    A pair that is ``alone`` in the service is computed on all cores.
    """
    loaded = jobs[0].request.model
    model = loaded.on_all_cores if alone else loaded.on_one_core
    texts = [load_text(job.pair, model.info) for job in jobs]

    def predict(batch: Batch) -> Sequence[Outcome | None]:
        pixels = (load_pixels(jobs[index].pair, model.info.image) for index in batch.indices)
        return predict_batch(model, batch, pixels)

    try:
        outcomes = list(predict_window(model, texts, predict, batch_size=RUN_SIZE))
    except Exception as error:
        if len(jobs) > 1:
            return [answer for job in jobs for answer in _answer([job], alone=False)]
        return [_failure(error)]
    return [outcome for outcome in outcomes if outcome is not None]  # every pair has one


def _failure(error: Exception) -> MmsentError:
    """What the service answers where it failed itself; what is unexpected is logged."""
    try:
        raise_shortage(error)
    except Shortage as shortage:
        error = shortage
    if isinstance(error, MmsentError):
        return error
    logger.error("a prediction failed: %s", place_of(error))
    return MmsentError("the prediction failed; the service's log says where")

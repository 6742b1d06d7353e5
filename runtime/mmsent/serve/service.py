"""What the routes share: the models, the batcher, the metrics, and prediction of a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from mmsent import __version__
from mmsent.data.pair import Pair
from mmsent.errors import MmsentError, Problem
from mmsent.predict.batches import BATCH_SIZE, Prediction
from mmsent.predict.explain.explanation import Explanation
from mmsent.serve import batcher
from mmsent.serve.batcher import Batcher, QueueFull
from mmsent.serve.body import Held
from mmsent.serve.explanations import Explainer
from mmsent.serve.keys import Keys
from mmsent.serve.metrics import SECONDS, Counter, Gauge, Histogram, Metric
from mmsent.serve.models import Loaded, Models
from mmsent.serve.problems import HTTPProblem, busy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The settings of the service: see `mmsent serve --help`.

    ``queue``: how many pairs may wait. ``seconds``: the time limit of a request after it was read.
    ``origins``: the origins whose pages may call the API (CORS).
    """

    threads: int = 1
    queue: int = 256
    seconds: float = 30.0
    origins: tuple[str, ...] = ()
    keys: Keys = field(default_factory=Keys)


class Service:
    """The state of the service. Use it only in the event loop's thread, except for `reload`."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models = models
        self.settings = settings
        self.draining = False
        self.held = Held()
        self.in_flight = 0
        self._batcher: Batcher | None = None
        self._explainer = Explainer()
        self._reloading = asyncio.Lock()
        self.requests = Counter(
            "mmsent_requests_total", "Answered requests.", ("route", "method", "status")
        )
        self.request_seconds = Histogram(
            "mmsent_request_seconds", "Seconds from a request's head to its answer.", SECONDS,
            ("route",),
        )  # fmt: skip
        self.predicted = Counter("mmsent_pairs_total", "Predicted pairs.", ("model", "label"))
        self.batch_pairs = Histogram(
            "mmsent_batch_pairs", "Pairs per batch.", [*range(1, BATCH_SIZE + 1)]
        )
        self.batch_seconds = Histogram(
            "mmsent_batch_seconds", "Seconds per batch, including decoding.", SECONDS
        )
        self.reloads = Counter("mmsent_reloads_total", "Reloads of the bundles.", ("outcome",))
        self.metrics: Sequence[Metric] = (
            self.requests, self.request_seconds, self.predicted, self.batch_pairs,
            self.batch_seconds, self.reloads,
            Gauge("mmsent_requests_in_flight", "Requests in progress.",
                  lambda: {(): self.in_flight}),
            Gauge("mmsent_queue_pairs", "Waiting pairs.", lambda: {(): self.waiting}),
            Gauge("mmsent_body_bytes", "Bytes of requests in memory.",
                  lambda: {(): self.held.total}),
            Gauge("mmsent_ready", "Whether the service accepts requests.",
                  lambda: {(): self.ready}),
            Gauge("mmsent_model_info", "The served models.", self._model_info,
                  ("version", "model", "sha256")),
        )  # fmt: skip

    def start(self) -> None:
        """Start the workers, in a running event loop."""
        self._batcher = Batcher(
            workers=self.settings.threads, capacity=self.settings.queue, observe=self._observe
        )

    async def stop(self) -> None:
        """Let the workers finish the queue, and stop them."""
        self.draining = True
        if self._batcher is not None:
            await asyncio.to_thread(self._batcher.close)
            self._batcher = None
        await asyncio.to_thread(self._explainer.close)

    @property
    def ready(self) -> bool:
        """Whether the service accepts new requests."""
        return self._batcher is not None and not self.draining

    @property
    def waiting(self) -> int:
        """The number of pairs that wait for a worker."""
        return self._batcher.waiting if self._batcher else 0

    def model(self, name: str | None = None) -> Loaded:
        """The model of that name; None: the first one. Raises HTTPProblem 404."""
        loaded = self.models.get(name)
        if loaded is None:
            names = ", ".join(each.name for each in self.models)
            raise HTTPProblem(404, f"there is no model of that name; the models are: {names}")
        return loaded

    async def predict(
        self, request: Request, model: Loaded, pairs: Sequence[Pair]
    ) -> list[Prediction]:
        """Predict the pairs of a request, in batches with those of other requests.

        Raises HTTPProblem: 422 that names every bad pair, 503 if the queue is full or the time is
        over, 500 if the bundle fails. Raises ClientDisconnect if the client disconnects; then
        nothing more is computed.
        """
        if self._batcher is None:
            raise busy("the service is starting or stopping")
        job = batcher.Request(model, pairs)
        try:
            self._batcher.submit(job)
        except QueueFull:
            if len(pairs) > self.settings.queue:
                detail = f"the queue has room for {self.settings.queue} pairs; send fewer at once"
                raise HTTPProblem(422, detail) from None
            raise busy(f"{self.waiting} pairs are waiting already; try again") from None
        try:
            await self._wait(request, job.done)
        finally:
            if not job.done.done():
                self._batcher.cancel(job)
        return self._predictions(job)

    async def explain(self, request: Request, model: Loaded, pair: Pair) -> Explanation:
        """Explain the prediction of a pair.

        Raises HTTPProblem and ClientDisconnect like `predict`.
        """
        work = asyncio.ensure_future(self._explainer.explain(model, pair))
        try:
            await self._wait(request, work)
        finally:
            work.cancel()
        return work.result()

    async def _wait(self, request: Request, work: asyncio.Future[Any]) -> None:
        """Wait until ``work`` is done, the time is over, or the client disconnects."""
        gone = asyncio.ensure_future(_disconnected(request))
        seconds = self.settings.seconds
        try:
            await asyncio.wait((work, gone), timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            gone.cancel()
        if not work.done():
            if gone.done():
                raise ClientDisconnect
            raise busy(f"no answer within {seconds:g} seconds; try again")

    def _predictions(self, job: batcher.Request) -> list[Prediction]:
        answers = [job.answers[index] for index in range(len(job.pairs))]
        for answer in answers:
            if isinstance(answer, MmsentError):
                raise HTTPProblem(500, str(answer))
        faults = [
            {"pair": index, "detail": answer.message}
            for index, answer in enumerate(answers)
            if isinstance(answer, Problem)
        ]
        if faults:
            details = [fault["detail"] for fault in faults]
            if len(answers) > 1:
                details = [f"pair {fault['pair']}: {fault['detail']}" for fault in faults]
            raise HTTPProblem(422, "; ".join(map(str, details)), errors=faults)
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        for prediction in predictions:
            self.predicted.add(job.model.name, prediction.label)
        return predictions

    async def reload(self) -> None:
        """Load changed bundles and switch to them when they are complete; log the result."""
        async with self._reloading:
            try:
                changed = await asyncio.to_thread(self.models.reload)
            except (MmsentError, OSError) as error:  # OSError: a file vanished meanwhile
                self.reloads.add("refused")
                logger.error("the bundles were not changed: %s", error)
                return
            self.reloads.add("done")
            logger.info("bundles reloaded; changed: %s", ", ".join(changed) or "none")

    def _observe(self, pairs: int, seconds: float) -> None:
        self.batch_pairs.observe(pairs)
        self.batch_seconds.observe(seconds)

    def _model_info(self) -> dict[tuple[str, ...], float]:
        return {(__version__, model.name, model.sha256): 1.0 for model in self.models}


async def _disconnected(request: Request) -> None:
    """Return when the client disconnects; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

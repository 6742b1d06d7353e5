"""The layer around all routes: API keys, errors, metrics, the log, headers, start and stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsent.serve.log import log_request, place_of
from mmsent.serve.problems import HTTPProblem
from mmsent.serve.service import Service

T = TypeVar("T")

CLIENT_CLOSED = 499
"""The status in the log and metrics if the client disconnected (nginx's number)."""
DISCARD_SECONDS = 2.0
"""How long the rest of a refused request is read and discarded.

If the connection were closed immediately, a client that still sends would see a reset instead of
the answer.
"""
BLOCKING_BYTES = 1 << 18
"""Larger bodies are parsed in a thread, so that other requests don't wait."""

logger = logging.getLogger(__name__)


async def run_blocking(work: Callable[[], T], size: int) -> T:
    """The result of ``work`` on ``size`` bytes; large ones are processed in a thread."""
    return await asyncio.to_thread(work) if size > BLOCKING_BYTES else work()


class Exchange:
    """An ASGI application around the router."""

    def __init__(self, app: ASGIApp, service: Service, *, open_routes: frozenset[str]) -> None:
        self._app = app
        self._service = service
        self._open_routes = open_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            self._service.in_flight += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self._service.in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = CLIENT_CLOSED
        sent = 0
        whole = False

        async def send_on(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                if self._service.draining:
                    headers["connection"] = "close"
            else:
                sent += len(message.get("body", b""))
            await send(message)

        async def receive_on() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body")
            return message

        scope["app"] = self
        scope.setdefault("state", {}).update(pairs=0, route="none")
        try:
            try:
                _check_length(scope)
                self._check_key(scope)
                await self._app(scope, receive_on, send_on)
            except (HTTPProblem, HTTPException) as error:
                response = _problem(error).response()
                if response.headers.get("connection") == "close" and not whole:
                    await _answer_and_discard(response, receive, send_on)
                else:
                    await response(scope, receive, send_on)
            except ClientDisconnect:
                pass
            except Exception as error:
                logger.error("a request failed: %s", place_of(error))
                if status == CLIENT_CLOSED:
                    detail = "the service failed; see its log"
                    await HTTPProblem(500, detail).response()(scope, receive, send_on)
        finally:
            self._record(scope, status, sent, time.perf_counter() - start)

    def _check_key(self, scope: Scope) -> None:
        keys = self._service.settings.keys
        if keys.digests and not keys.accept(Headers(scope=scope)):
            path = scope["path"]
            if path not in self._open_routes and not path.startswith("/page/"):
                raise HTTPProblem(
                    401,
                    "this service requires an API key: Authorization: Bearer KEY",
                    headers={"www-authenticate": "Bearer"},
                    close=True,
                )

    def _record(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        route = scope["state"]["route"]
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        self._service.requests.add(route, method, str(status))
        self._service.request_seconds.observe(seconds, route)
        client = scope.get("client")
        log_request(
            method=method,
            route=route,
            status=status,
            pairs=scope["state"]["pairs"],
            bytes=sent,
            milliseconds=round(seconds * 1000, 3),
            client=client[0] if client else "unknown",
        )

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._service.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._service.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _check_length(scope: Scope) -> None:
    """Refuse a body with two lengths: a proxy may read the other one (RFC 9112, 6.3)."""
    headers = Headers(scope=scope)
    if "content-length" in headers and "transfer-encoding" in headers:
        detail = "a request can't have both Content-Length and Transfer-Encoding"
        raise HTTPProblem(400, detail, close=True)


def _problem(error: HTTPProblem | HTTPException) -> HTTPProblem:
    if isinstance(error, HTTPProblem):
        return error
    details = {
        404: "there is nothing at this path; /docs describes the API",
        405: "this path does not support this method",
    }
    detail = details.get(error.status_code, error.detail)
    return HTTPProblem(error.status_code, detail, headers=error.headers)


async def _answer_and_discard(response: Response, receive: Receive, send: Send) -> None:
    """Answer before the request is read, and discard the rest of it for a while."""

    async def discard() -> None:
        while (message := await receive())["type"] != "http.disconnect":
            if not message.get("more_body"):
                return

    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(discard(), DISCARD_SECONDS)
    await send({"type": "http.response.body", "body": b""})

"""A connection with time limits: uvicorn limits only the pause between two requests.

It also answers what uvicorn itself would refuse with plain text.
"""

from __future__ import annotations

import asyncio

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmsent.serve.problems import HTTPProblem, busy

MAX_CONNECTIONS = 1000
"""The maximum number of connections; requests on any other get 503."""

HEAD_SECONDS = 30.0
"""The time limit for the head of a connection's first request."""
IDLE_SECONDS = 75
"""The time limit for the next request: longer than reverse proxies keep idle connections."""
EXCHANGE_SECONDS = 120.0
"""The time limit for a request, from its head until the client has read the answer."""
LAST_SECONDS = 1.0
"""How long idle connections stay open when the service stops: a request may be on its way."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with time limits."""

    clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = _refuse
        self.expire_in(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.clock is not None:
            self.clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        idle = self.is_idle
        super().data_received(data)
        if idle and not self.is_idle:
            self.expire_in(EXCHANGE_SECONDS)

    def on_response_complete(self) -> None:
        self.expire_in(IDLE_SECONDS)
        super().on_response_complete()
        if not self.is_idle:  # the next request had already arrived
            self.expire_in(EXCHANGE_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, and close the connection."""
        problem = HTTPProblem(400, "the request is not valid HTTP/1.1", close=True).response()
        events = (
            h11.Response(status_code=400, headers=problem.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection after its answer or, if it is idle, after a short wait."""
        if self.is_idle:
            self.expire_in(LAST_SECONDS)
        else:
            super().shutdown()

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def expire_in(self, seconds: float) -> None:
        """Restart the timer."""
        if self.clock is not None:
            self.clock.cancel()
        self.clock = self.loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """Close the connection; immediately if the client does not read the answer."""
        if self.is_idle and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    problem = busy(f"{MAX_CONNECTIONS} connections are open already; try again")
    problem.headers["connection"] = "close"
    await problem.response()(scope, receive, send)

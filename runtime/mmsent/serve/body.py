"""Read a request's body, with limits on bytes and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from mmsent.serve.problems import HTTPProblem, busy

MAX_BODY_BYTES = 96 << 20
"""Larger bodies are refused. An image of the maximum size fits in base64, with its text."""
MAX_HELD_BYTES = 256 << 20
"""The limit on the bodies of all requests together; beyond it, the answer is 503."""
BODY_SECONDS = 30.0
"""The time limit for a body to arrive."""


@dataclass(slots=True)
class Held:
    """The number of bytes of requests in memory."""

    total: int = 0

    @contextmanager
    def request(self) -> Iterator[list[int]]:
        """Count the chunks that the block appends to the list, until the block ends."""
        sizes: list[int] = []
        try:
            yield sizes
        finally:
            self.total -= sum(sizes)


async def read_body(request: Request, held: Held, sizes: list[int]) -> bytes:
    """The body. ``sizes``, from `Held.request`, counts its bytes.

    Raises HTTPProblem: 413 if it is too large, before it is read completely; 408 if it takes too
    long; 415 if it is compressed; 503 if all requests together use too much memory. Raises
    ClientDisconnect if the client disconnects.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        detail = "compressed bodies are not supported; send it without Content-Encoding"
        raise HTTPProblem(415, detail, headers={"accept-encoding": "identity"}, close=True)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        return await asyncio.wait_for(_read(request, held, sizes), BODY_SECONDS)
    except asyncio.TimeoutError:
        detail = f"the body did not arrive within {BODY_SECONDS:.0f} seconds"
        raise HTTPProblem(408, detail, close=True) from None


async def _read(request: Request, held: Held, sizes: list[int]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if held.total + len(chunk) > MAX_HELD_BYTES:
            problem = busy("the service's memory for requests is full; try again")
            problem.headers["connection"] = "close"
            raise problem
        held.total += len(chunk)
        sizes.append(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large() -> HTTPProblem:
    return HTTPProblem(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB", close=True)

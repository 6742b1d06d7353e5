"""Reading a request's body: bounded in bytes and in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from mmsent.serve.problems import HTTPProblem, busy

MAX_BODY_BYTES = 96 << 20
"""Larger bodies are refused: an image of the largest size in base64, and its text."""
MAX_HELD_BYTES = 256 << 20
"""The bodies of all requests together: a request that would take more is refused for now."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive."""


@dataclass(slots=True)
class Held:
    """How many bytes of requests are in memory."""

    total: int = 0

    @contextmanager
    def request(self) -> Iterator[list[int]]:
        """Count what the block appends to the list, until the block ends."""
        sizes: list[int] = []
        try:
            yield sizes
        finally:
            self.total -= sum(sizes)


async def read_body(request: Request, held: Held, sizes: list[int]) -> bytes:
    """The body. ``sizes``, of `Held.request`, counts its bytes.

    Raises HTTPProblem: 413 where it is too large, before it is read whole; 408 where it takes too
    long; 415 where it is compressed; 503 where requests hold too much memory. Raises
    ClientDisconnect where the client breaks off.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        detail = "a compressed body is not accepted; send it without Content-Encoding"
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
            problem = busy("requests hold all the memory they may; try again")
            problem.headers["connection"] = "close"
            raise problem
        held.total += len(chunk)
        sizes.append(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large() -> HTTPProblem:
    return HTTPProblem(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB", close=True)

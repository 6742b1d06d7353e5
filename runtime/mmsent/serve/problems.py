"""What is wrong with a request, as the client reads it: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from mmsent.files.console import to_json

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""When a client that is refused for a lack of capacity should ask again."""


class HTTPProblem(Exception):
    """A request can't be answered. ``detail`` says why, and the fix, in one sentence.

    ``members`` are added to the body, ``headers`` to the answer's. With ``close`` the connection
    ends: the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
        **members: Any,
    ) -> None:
        super().__init__(status, detail)  # what unpickling calls the class with
        self.status = status
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {}) | ({"connection": "close"} if close else {})

    def __str__(self) -> str:
        return self.detail

    def response(self) -> Response:
        """The answer. ``error`` repeats the detail, where Open Inference Protocol clients look."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            **self.members,
        }
        return Response(to_json(body), self.status, self.headers, MEDIA_TYPE)


def busy(detail: str) -> HTTPProblem:
    """The service lacks the capacity for a request now: 503, with when to try again."""
    return HTTPProblem(503, detail, headers={"retry-after": str(RETRY_SECONDS)})

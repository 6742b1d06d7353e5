"""Errors of a request, as the client gets them: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from mmsent.files.console import to_json

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""When a client should retry after a lack of capacity."""


class HTTPProblem(Exception):
    """An error response. ``detail``: the reason and the fix, in one sentence.

    ``members`` are added to the body, ``headers`` to the response's. ``close``: close the
    connection without reading the rest of the request.
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
        super().__init__(status, detail)  # the arguments with which pickle calls the class
        self.status = status
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {}) | ({"connection": "close"} if close else {})

    def __str__(self) -> str:
        return self.detail

    def response(self) -> Response:
        """The response. ``error`` repeats the detail for Open Inference Protocol clients."""
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
    """The service lacks the capacity for a request at the moment: 503, with Retry-After."""
    return HTTPProblem(503, detail, headers={"retry-after": str(RETRY_SECONDS)})

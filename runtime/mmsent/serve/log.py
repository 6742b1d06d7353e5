"""The service's log: one line per request, as text or JSON. It never contains request data.

A request is therefore logged by its route, not by its path or query, and an unexpected error by its
type and place, not by its message.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

logger = logging.getLogger(__name__)

TALKATIVE = ("mmsent.predict.explain", "python_multipart")
"""Loggers whose warnings contain request data: characters without a font, a malformed form's bytes.

The second would also write plain text between JSON lines.
"""
FIELDS = "mmsent_fields"
"""The attribute of a log record with additional fields for `JsonFormatter`."""


def log_request(**fields: Any) -> None:
    """Log one request: method, route, status, pairs, bytes, milliseconds, client."""
    line = (
        "{client} {method} {route} {status} {milliseconds:.1f} ms, {bytes} bytes, {pairs} pairs"
    ).format(**fields)
    logger.info(line, extra={FIELDS: fields})


def place_of(error: BaseException) -> str:
    """The type of an unexpected error and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, and a request's fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc)
        content = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, FIELDS, None)
        content |= {"message": record.getMessage()} if fields is None else fields
        return json.dumps(content)


@contextmanager
def service_log(*, as_json: bool) -> Iterator[None]:
    """While the block runs, keep request data out of the log; ``as_json``: log JSON lines."""
    talkative = [logging.getLogger(name) for name in TALKATIVE]
    levels = [each.level for each in talkative]
    for each in talkative:
        each.setLevel(logging.ERROR)
    handlers = list(logging.getLogger("mmsent").handlers)
    before = [handler.formatter for handler in handlers]
    for handler in handlers if as_json else ():
        handler.setFormatter(JsonFormatter())
    try:
        yield
    finally:
        for each, level in zip(talkative, levels):
            each.setLevel(level)
        for handler, formatter in zip(handlers, before):
            handler.setFormatter(formatter)

"""The service's log: one line a request, as text or JSON. It never holds what a request held.

So a request is named by its route, not by its path or query, and an unexpected error by its type
and place, not by its message.
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

FIELDS = "mmsent_fields"
"""The attribute of a log record that holds what `JsonFormatter` writes besides the message."""


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
    """One JSON object a line: time (UTC), level, logger, message, and a request's fields."""

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
def as_json(name: str) -> Iterator[None]:
    """While the block runs, the handlers of the logger ``name`` write JSON lines."""
    handlers = list(logging.getLogger(name).handlers)
    before = [handler.formatter for handler in handlers]
    for handler in handlers:
        handler.setFormatter(JsonFormatter())
    try:
        yield
    finally:
        for handler, formatter in zip(handlers, before):
            handler.setFormatter(formatter)

"""What commands, but not libraries, show on stderr: the log and progress bars."""

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOGGERS = ("mmsent", "mmsent_training", "mmsent_export")

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

MAX_MESSAGE = 1 << 16
"""Files from strangers can contain names of megabytes."""

_shown = False


def bars_shown() -> bool:
    """Whether to show progress bars: true inside a `console` block."""
    return _shown


@contextmanager
def console() -> Iterator[None]:
    """Show progress bars, and log messages of mmsent's packages from level INFO.

    Both go to the current ``sys.stderr``. At the end of the block, logging is restored.
    """
    global _shown
    handler = _Stderr()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = _shown, [logger.level for logger in loggers]
    _shown = True
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        _shown, levels = before
        for logger, level in zip(loggers, levels):
            logger.removeHandler(handler)
            logger.setLevel(level)


def prepare_streams() -> None:
    """Make sure that all standard streams exist and can print any text.

    A closed stream (``2>&-``) is redirected to /dev/null. Otherwise the next opened file would get
    its descriptor, and with it the output of libraries. Characters that an output's encoding lacks
    are escaped. What stderr does not take is dropped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_null(number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    buffer = getattr(sys.stderr, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # python -u has no buffer
    if type(raw) is io.FileIO:  # a console of Windows has another type
        with suppress(OSError):
            sys.stderr.flush()
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lenient(raw.fileno(), "w", closefd=False)),
            encoding=sys.stderr.encoding,
            errors=sys.stderr.errors,
            line_buffering=True,
        )


def _open_null(number: int) -> io.TextIOWrapper:
    """A text stream to the null device, with the descriptor ``number`` if that is free."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(null, number)
    if null == number:
        os.set_inheritable(null, True)
    else:
        os.close(null)
    return open(os.devnull, "w" if number else "r", encoding="utf-8")


def readable(text: str) -> str:
    """``text`` with U+FFFD for surrogates, which stand for undecodable bytes in paths."""
    return _SURROGATE.sub("\ufffd", text)


def harmless(message: str) -> str:
    """``message`` without control characters, which a terminal obeys: they are escaped.

    Messages can contain names from untrusted files. Lines and tabs stay. Of more than MAX_MESSAGE
    characters, the rest is cut off.
    """
    shown = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], shown)


def to_json(content: Any) -> str:
    """JSON in ASCII, which every terminal and program can handle; see `readable`."""
    return json.dumps(json.loads(readable(json.dumps(content, ensure_ascii=False))))


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{harmless(self.format(record))}\n")
        sys.stderr.flush()


class _Lenient(io.FileIO):
    """A full disk, a closed pipe or terminal, or a reader that is behind must not end the work."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written

"""What a command shows on stderr, and a library does not: its log, and progress bars."""

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

_shown = False


def bars_shown() -> bool:
    """Whether progress bars are wanted: while a block of `console` runs."""
    return _shown


@contextmanager
def console() -> Iterator[None]:
    """Show progress bars and, as bare messages, the log of mmsent's packages from INFO on.

    Both go to what ``sys.stderr`` is at that moment. Afterwards logging is as it was.
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
    """Make the standard streams fit for a command: each is there, and prints any text.

    One that was closed (``2>&-``) is as one to /dev/null: the next file to be opened would get its
    number, and with it what libraries print. What stdout's encoding lacks is printed as an escape.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_null(number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_null(number: int) -> io.TextIOWrapper:
    """A text stream to the null device, with the descriptor ``number`` where that is free."""
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
    """``text`` with a replacement character for what no encoding has: a path's odd bytes."""
    return _SURROGATE.sub("\ufffd", text)


def to_json(content: Any) -> str:
    """JSON in ASCII, which every terminal has and every program reads: see `readable`."""
    return json.dumps(json.loads(readable(json.dumps(content, ensure_ascii=False))))


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a full disk or a closed pipe there is no reason to end the work
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()

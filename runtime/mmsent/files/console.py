"""What a command shows on stderr, and a library does not: its log, and progress bars."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("mmsent", "mmsent_training", "mmsent_export")

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


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()

"""SIGINT and SIGTERM end long work between two of its steps, instead of anywhere in it."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmsent.errors import Interrupted

Stoppable = Callable[[Iterable[Any]], Iterator[Any]]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(
    resuming: str, agree: Callable[[int], int] | None = None
) -> Iterator[Stoppable]:
    """Yield a function to wrap what the block iterates over.

    After a signal it raises Interrupted, whose message ends with ``resuming``, before the next
    item. A second signal does what it did before. One that whoever started the process lets it
    ignore (``nohup``, a shell's ``&``) stays ignored.

    ``agree``: where several processes do the work in step, what makes of each one's signal, or 0,
    the one that all of them obey. Launchers repeat signals, so a second one then changes nothing.
    """
    received: list[signal.Signals] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if agree is None:
            restore()

    def restore() -> None:
        for item, handler in before.items():
            signal.signal(item, handler)

    def stoppable(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            number = received[0] if received else 0
            if agree is not None:
                number = agree(number)
            if number:
                name = signal.Signals(number).name
                raise Interrupted(f"stopped by {name}; {resuming}", number)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only it may set handlers
        for item in SIGNALS:
            if signal.getsignal(item) not in (signal.SIG_IGN, None):  # None: set by C code
                before[item] = signal.signal(item, receive)
    try:
        yield stoppable
    finally:
        restore()

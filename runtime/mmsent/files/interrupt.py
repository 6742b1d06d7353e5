"""SIGINT and SIGTERM end long work between two steps."""

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
    """Yield a function that wraps the block's iterables.

    After a signal, the wrapped iterator raises Interrupted before the next item; its message ends
    with ``resuming``. A second signal has its previous effect. Signals that were ignored when the
    process started (``nohup``, a shell's ``&``) stay ignored.

    ``agree``: for several processes that work in step. It combines the signals of all processes (0
    for none) into one that all obey. Launchers repeat signals, so a second one then has no effect.
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
    if (
        threading.current_thread() is threading.main_thread()
    ):  # only the main thread may set handlers
        for item in SIGNALS:
            if signal.getsignal(item) not in (signal.SIG_IGN, None):  # None: set by C code
                before[item] = signal.signal(item, receive)
    try:
        yield stoppable
    finally:
        restore()

"""Stopping a training so that it can go on: at a signal, or where the disk gives out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mmsent.errors import Interrupted, MmsentError
from mmsent_training.state import is_unfinished

Stoppable = Callable[[Iterable[Any]], Iterator[Any]]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def resumable(folder: Path) -> Iterator[Stoppable]:
    """While the block trains the run in ``folder``, SIGINT and SIGTERM end it between two steps.

    Yields a function to wrap what is iterated over: it raises Interrupted, which says how to go on,
    before the next item. A second signal ends the process at once. An OSError becomes an
    MmsentError that says the same.
    """
    received: list[signal.Signals] = []
    going_on = f"`mmsent train --resume {folder}` goes on after its last finished epoch"

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        restore()

    def restore() -> None:
        for item, handler in before.items():
            signal.signal(item, handler)

    def stoppable(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            if received:
                raise Interrupted(f"stopped by {received[0].name}; {going_on}", received[0])

    before = {}
    if threading.current_thread() is threading.main_thread():  # only it may set handlers
        before = {item: signal.signal(item, receive) for item in SIGNALS}
    try:
        yield stoppable
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
        if is_unfinished(folder):
            reason += f"; when that is mended, {going_on}"
        raise MmsentError(reason) from None
    finally:
        restore()

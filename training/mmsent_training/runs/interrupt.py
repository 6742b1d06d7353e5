"""Stopping a training so that it can go on: at a signal, or where the disk gives out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsent.errors import MmsentError
from mmsent.files.interrupt import Stoppable, stop_on_signals
from mmsent_training.distributed import highest, processes
from mmsent_training.runs.state import is_unfinished


@contextmanager
def resumable(folder: Path) -> Iterator[Stoppable]:
    """While the block trains the run in ``folder``, SIGINT and SIGTERM end it between two steps.

    Yields a function to wrap what is iterated over; processes that train together end after the
    same step, whichever of them got the signal. What it raises then, and the MmsentError that
    an OSError becomes, say how to go on.
    """
    going_on = f"`mmsent train --resume {folder}` goes on after its last finished epoch"
    try:
        with stop_on_signals(going_on, highest if processes() > 1 else None) as stoppable:
            yield stoppable
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
        if is_unfinished(folder):
            reason += f"; when that is mended, {going_on}"
        raise MmsentError(reason) from None

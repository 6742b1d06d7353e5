"""The finished batches of inference, so that a resumed run repeats none of them.

Rows are written in the list's order, but batches finish in another: .OUTPUT.part.batches has a line
for each batch, in the order in which they finish.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from mmsent.data.pair import Pair
from mmsent.errors import Problem
from mmsent.files.bounded import create_file
from mmsent.predict.batches import Outcome, Prediction
from mmsent.predict.rows import plain_floats

Numbered = tuple[int, Pair]  # a row: its index in the list


class Journal:
    """Outcomes of complete batches by row. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._outcomes: dict[int, tuple[str, Outcome]] = {}
        self._lock = Lock()

    def windows(self) -> set[int]:
        """The first rows of the windows with a finished batch."""
        return {first for first, _ in self._lines()}

    def open(self, start: int) -> None:
        """Load the windows from row ``start`` on, and open the file to add to it."""
        for first, rows in self._lines():
            if first >= start:
                self._outcomes |= rows
        self._file = create_file(self.path, "ab", buffering=0)
        self._file.write(b"\n")  # ends a line that was cut off

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def find(self, batch: Sequence[Numbered]) -> list[Outcome] | None:
        """Remove and return the outcomes of a batch; None unless all of them are known."""
        found = [self._outcomes.pop(number, None) for number, _ in batch]
        known = [item[1] for item, (_, row) in zip(found, batch) if item and item[0] == row.guid]
        return known if len(known) == len(batch) else None

    def add(self, first: int, batch: Sequence[Numbered], outcomes: Sequence[Outcome]) -> None:
        """Record a finished batch of the window that starts with row ``first``.

        Raises OSError.
        """
        rows = [
            [number, row.guid, type(outcome).__name__, astuple(outcome)]
            for (number, row), outcome in zip(batch, outcomes)
        ]
        line = json.dumps([first, rows], default=plain_floats).encode() + b"\n"
        with self._lock:
            assert self._file
            self._file.write(line)

    def _lines(self) -> Iterator[tuple[int, dict[int, tuple[str, Outcome]]]]:
        """The complete lines; one that a crash or a full disk cut off is skipped."""
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (Prediction, Problem)}
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    first, rows = json.loads(line)
                    known = {n: (guid, kinds[kind](*fields)) for n, guid, kind, fields in rows}
                    yield int(first), known
                except (ValueError, TypeError, KeyError):
                    continue

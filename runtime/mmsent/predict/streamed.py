"""An inference's output where it can't be replaced as a whole: stdout, a descriptor, a FIFO."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmsent.data.pair import Pair
from mmsent.errors import InputError, Problem
from mmsent.files.destination import STDOUT, open_stream
from mmsent.predict.batches import Prediction
from mmsent.predict.rows import Rows, kind_of

logger = logging.getLogger(__name__)


class Streamed:
    """Rows that are written in their order as soon as they are predicted; as Output has it."""

    journal = None

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        """Raises InputError where the format can't be written so."""
        if kind_of(path) == "parquet":
            raise InputError(f"{path}: Parquet can't be written to a stream; name a file")
        self.name = "stdout" if path == STDOUT else str(path)
        self.path, self.rows = path, Rows(labels, json=kind_of(path) == "json")
        self.written = self.failed = 0

    @contextmanager
    def open(
        self, key: dict[str, Any], items: Iterable[Pair | Problem], *, resume: bool
    ) -> Iterator[None]:
        """Write the header, and rows while the block runs; the arguments are for Output."""
        try:
            with open_stream(self.path) as self.file:
                self._write(self.rows.header)
                yield
        except OSError as error:
            error.filename = error.filename or self.name
            raise

    def write(self, row: Pair, prediction: Prediction) -> None:
        """Write a prediction."""
        self._write(self.rows.line(row, prediction))
        self.written += 1

    def write_problem(self, problem: Problem) -> None:
        """Say which row can't be predicted, and why: there is no place for another file."""
        logger.warning("%s", problem)
        self.written += 1
        self.failed += 1

    def _write(self, line: bytes) -> None:
        self.file.write(line)
        self.file.flush()

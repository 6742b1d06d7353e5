"""The output of inference to a stream: stdout, a descriptor or a FIFO."""

import logging
from collections.abc import Iterable, Iterator
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
    """Writes rows in order as soon as they are predicted; it has the methods of Output."""

    journal = None

    def __init__(self, path: Path, rows: Rows) -> None:
        """Raise InputError if the format can't be streamed."""
        if kind_of(path) == "parquet":
            raise InputError(f"{path}: Parquet can't be written to a stream; name a file")
        self.name = "stdout" if path == STDOUT else str(path)
        self.path, self.rows = path, rows
        self.written = self.failed = 0

    @contextmanager
    def open(
        self, key: dict[str, Any], items: Iterable[Pair | Problem], *, resume: bool
    ) -> Iterator[None]:
        """Write the header, and rows while the block runs; for the arguments, see Output."""
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
        """Log a bad row and its problem, since a stream has no second file."""
        logger.warning("%s", problem)
        self.written += 1
        self.failed += 1

    def _write(self, line: bytes) -> None:
        self.file.write(line)
        self.file.flush()

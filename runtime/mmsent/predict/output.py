"""The output of inference, which gets its final name only when it is complete.

.OUTPUT.part             the predictions so far
.OUTPUT.errors.csv.part  with --on-error skip, the bad rows so far
.OUTPUT.part.batches     the finished batches (see mmsent.predict.journal)
.OUTPUT.part.json        what the output depends on

All of them are deleted at the end. If the process is killed, another one continues from them: both
parts are in the list's order, one line per row, so that comparing them with the list shows how far
the inference came.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mmsent.data.pair import Pair
from mmsent.errors import InputError, Interrupted, MmsentError, Problem, Shortage
from mmsent.files.atomic import atomic_path, replace, sync
from mmsent.files.bounded import create_file
from mmsent.files.destination import find_file
from mmsent.predict.batches import Prediction
from mmsent.predict.journal import Journal
from mmsent.predict.rows import Rows, csv_line, kind_of


def errors_path(output: Path) -> Path:
    """Where the bad rows go."""
    return output.with_name(f"{output.name}.errors.csv")


class Output:
    """The files of one output.

    ``rows`` says what is written, and how. If ``path`` is a link, its target is replaced, and the
    parts are next to that. ``written`` counts all rows, ``failed`` those that could not be
    predicted.
    """

    def __init__(self, path: Path, rows: Rows, *, skip: bool) -> None:
        self.path, self.target, self.skip = path, find_file(path), skip
        self.errors_target = find_file(errors_path(path))
        self.part = self.target.with_name(f".{self.target.name}.part")
        self.errors_part = self.errors_target.with_name(f".{self.errors_target.name}.part")
        self.key_path = self.target.with_name(f".{self.target.name}.part.json")
        self.journal = Journal(self.target.with_name(f".{self.target.name}.part.batches"))
        self.parquet = kind_of(path) == "parquet"  # at the end, from JSON Lines
        self.rows = rows
        self.written = self.failed = 0

    @contextmanager
    def open(
        self, key: dict[str, Any], items: Iterable[Pair | Problem], *, resume: bool
    ) -> Iterator[None]:
        """Open the parts for ``write``, and rename them if the block succeeds.

        ``key``: what the output depends on. ``resume`` continues an interrupted inference from its
        parts, at the start of one of its windows, so that the rest is divided into the same
        batches, of which ``journal`` has the finished ones. Raises InputError if the parts have
        another key.
        If the block raises because of a signal or the machine, the parts stay.
        """
        if resume and self.key_path.exists():
            self._compare(key)
        else:
            self.discard()
            with atomic_path(self.key_path) as part:
                part.write_text(json.dumps(key, indent=2) + "\n", encoding="utf-8")
        try:
            with (
                create_file(self.part, "r+b") as self.file,
                create_file(self.errors_part, "r+b") as self.errors,
                closing(self.journal),
            ):
                self._recover(items)
                self.journal.open(self.written)
                yield
                sync(self.file)
                sync(self.errors)
        except MmsentError as error:  # the parts are closed now: Windows does not delete open files
            if not isinstance(error, Interrupted | Shortage):
                self.discard()
            raise
        if self.parquet:
            from mmsent.data.pack import write_predictions

            write_predictions(self.part, self.target, self.rows.columns, self.rows.features)
        else:
            replace(self.part, self.target)
        if self.failed:
            replace(self.errors_part, self.errors_target)
        elif self.skip:
            self.errors_target.unlink(missing_ok=True)  # of an earlier inference
        self.discard()

    def write(self, row: Pair, prediction: Prediction) -> None:
        """Write a prediction."""
        self.file.write(self.rows.line(row, prediction))
        self.written += 1

    def write_problem(self, problem: Problem) -> None:
        """Write a bad row and its problem."""
        cells = (problem.guid, problem.file, problem.message)
        self.errors.write(csv_line(problem.line, *(_harmless(cell) for cell in cells)))
        self.written += 1
        self.failed += 1

    def discard(self) -> None:
        """Delete the parts."""
        for path in (self.part, self.errors_part, self.journal.path, self.key_path):
            path.unlink(missing_ok=True)

    def _compare(self, key: dict[str, Any]) -> None:
        """Raise InputError if the parts have another key."""
        try:
            before = json.loads(self.key_path.read_text(encoding="utf-8"))
            differing = [name for name, value in key.items() if before.get(name) != value]
        except (ValueError, AttributeError):
            differing = ["(damaged)"]
        if differing:
            raise InputError(
                f"--resume: the interrupted inference to {self.path} had another "
                f"{', '.join(differing)}; without --resume it starts over"
            )

    def _recover(self, items: Iterable[Pair | Problem]) -> None:
        """Find how far both parts agree with the list, and cut them there; or start new parts."""
        headers = self.rows.header, _ERRORS_HEADER
        files = (self.file, self.errors)
        if any(file.read(len(header)) != header for file, header in zip(files, headers)):
            for file, header in zip(files, headers):
                file.seek(0)
                file.truncate()
                file.write(header)
            items = ()
        places, rows, failed = [len(header) for header in headers], 0, 0
        kept = (0, 0, *places)
        windows = self.journal.windows()
        lines = [file.readline() for file in files]
        for item in items:
            starts = self.rows.start(item), f"{item.line},".encode()
            which = next((i for i in (0, 1) if _is_whole(lines[i], starts[i])), None)
            if which is None:
                break
            places[which] += len(lines[which])
            lines[which] = files[which].readline()
            rows, failed = rows + 1, failed + which
            if rows in windows:
                kept = (rows, failed, *places)
        else:
            kept = (rows, failed, *places)
        self.written, self.failed, *places = kept
        for file, place in zip(files, places):
            file.seek(place)
            file.truncate()


_ERRORS_HEADER = csv_line("line", "guid", "file", "reason")


def _is_whole(line: bytes, start: bytes) -> bool:
    return line.startswith(start) and line.endswith(b"\n")


def _harmless(cell: str) -> str:
    """A cell with untrusted content: on one line, and not a formula in any spreadsheet."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in cell)
    return f"'{line}" if line[:1] in tuple("=+-@") else line

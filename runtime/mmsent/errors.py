"""The errors that mmsent reports as one message, without a traceback."""

from collections.abc import Sequence
from dataclasses import dataclass


class MmsentError(Exception):
    """The work failed; the message says what happened and what to do. Exit code 1."""

    exit_code = 1


class InputError(MmsentError, ValueError):
    """What was given can't be used: wrong arguments or bad data. Exit code 2."""

    exit_code = 2


class Interrupted(MmsentError):
    """A signal ended the work, in order. Exit code 128 + the signal, as shells have it."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[str, int]]:
        """For pickle: a process of a pool hands its exceptions to the one that waits for it."""
        return type(self), (str(self), self.signal)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row of a list, or with a file that it names.

    ``file`` is the offending file, ``line`` its row in the list (1 is the header; 0: the list as a
    whole; of a Parquet file, and of a folder's images, 1 is the first), ``guid`` the row's guid as
    written ("" where there is none). The name of a ``list`` that is a folder ends in a slash.
    """

    list: str
    line: int
    guid: str
    file: str
    message: str

    def __str__(self) -> str:
        is_folder, is_parquet = (self.list.lower().endswith(end) for end in ("/", ".parquet"))
        unit = "image" if is_folder else "row" if is_parquet else "line"
        row = f"{self.list} {unit} {self.line}" if self.line else self.list
        guid = f" (guid {self.guid!r})" if self.guid else ""
        file = "" if self.file == self.list else f"{self.file}: "
        return f"{row}{guid}: {file}{self.message}"


def refuse(problems: Sequence[Problem], consequence: str) -> None:
    """Raise one InputError that names every problem; do nothing where there is none."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InputError(f"{count} in the data; {consequence}:\n{lines}")

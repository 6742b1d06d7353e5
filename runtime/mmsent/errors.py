"""The errors that mmsent reports as one message, without a traceback."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINES = 20
"""The maximum number of lines about problems in a message; more problems are grouped."""
SHOWN_VALUES = 5
"""The maximum number of example values in a message; the others are counted."""


class MmsentError(Exception):
    """The work failed; the message says what happened and what to do. Exit code 1."""

    exit_code = 1


class InputError(MmsentError, ValueError):
    """Wrong arguments or bad data. Exit code 2."""

    exit_code = 2


class Shortage(MmsentError):
    """The machine lacks memory, threads or file descriptors: no input is at fault."""


class Interrupted(MmsentError):
    """A signal ended the work, in order. Exit code 128 + the signal, as in shells."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[str, int]]:
        """For pickle: the processes of a pool send their exceptions to the parent process."""
        return type(self), (str(self), self.signal)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with one row of a list, or with a file that it names.

    ``file``: the file at fault. ``line``: the row (1 is the header; in Parquet files and folders of
    images, 1 is the first row; 0: the list as a whole). ``guid``: the row's guid as written, ""
    if it has none. If a ``list`` is a folder, its name ends in a slash.
    """

    list: str
    line: int
    guid: str
    file: str
    message: str

    @property
    def row(self) -> str:
        """The row's location, for messages: list, line and guid."""
        is_folder, is_parquet = (self.list.lower().endswith(end) for end in ("/", ".parquet"))
        unit = "image" if is_folder else "row" if is_parquet else "line"
        place = f"{self.list} {unit} {self.line}" if self.line else self.list
        return place + (f" (guid {self.guid!r})" if self.guid else "")

    def __str__(self) -> str:
        file = "" if self.file == self.list else f"{self.file}: "
        return f"{self.row}: {file}{self.message}"


def refuse(problems: Sequence[Problem], consequence: str) -> None:
    """Raise one InputError that names all problems; do nothing if there are none."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = summarize(problems)
        if len(lines) < len(problems):
            lines.append("`mmsent check-data --all` lists every one")
        shown = "\n".join(f"  {line}" for line in lines)
        raise InputError(f"{count} in the data; {consequence}:\n{shown}")


def summarize(problems: Sequence[Problem]) -> list[str]:
    """The problems in at most MAX_LINES lines: one each or, if there are more, grouped by kind.

    Problems are of one kind if they are in one list and their messages differ only in quoted values
    and numbers.
    """
    if len(problems) <= MAX_LINES:
        return [str(problem) for problem in problems]
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kind = _VALUE.sub("\0", _head(problem.message))
        kinds.setdefault((problem.list, kind), []).append(problem)
    groups = list(kinds.values())
    if len(groups) <= MAX_LINES:
        return [_group(group) for group in groups]
    shown, rest = groups[: MAX_LINES - 1], groups[MAX_LINES - 1 :]
    more = f"{sum(map(len, rest))} more, of {len(rest)} other kinds"
    return [*map(_group, shown), more]


# A value in quotes, as repr writes it, or a number. The apostrophe of "can't" starts no value.
_VALUE = re.compile(r"""(?<!\w)'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b\d+\b""")
_HEAD = re.compile(rf"(?:{_VALUE.pattern}|[^;])*")


def _head(message: str) -> str:
    """The message without the advice after the first semicolon."""
    match = _HEAD.match(message)
    return match[0] if match else message


def _group(problems: Sequence[Problem]) -> str:
    """One line for problems of one kind: how many, the values that differ, and the first one."""
    first = problems[0]
    if len(problems) == 1:
        return str(first)
    heads = [_head(problem.message) for problem in problems]
    advice = {problem.message[len(head) :] for problem, head in zip(problems, heads)}
    tail = advice.pop() if len(advice) == 1 else ""
    file = "" if first.file == first.list else f", {first.file}"
    unit = "rows" if first.line else "problems"
    return f"{len(problems)} {unit}: {_merge(heads)}{tail}; first: {first.row}{file}"


def _merge(heads: Sequence[str]) -> str:
    """Messages of one kind as one, with the values that differ, the most frequent first."""
    values = [list(_VALUE.finditer(head)) for head in heads]
    columns = zip(*([match[0] for match in matches] for matches in values))
    different = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if not different:
        return heads[0]
    spans = [(matches[different[0]].start(), matches[different[-1]].end()) for matches in values]
    counts = Counter(head[start:end] for head, (start, end) in zip(heads, spans))
    shown = [
        f"{value} ({count})" if count > 1 else value
        for value, count in counts.most_common(SHOWN_VALUES)
    ]
    if others := len(counts) - len(shown):
        shown[-1] += f" and {others} others"
    begin, end = spans[0]
    return heads[0][:begin] + ", ".join(shown) + heads[0][end:]

"""What the checks produce: findings, in groups."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Mark = Literal["ok", "warning", "failure", "not applicable"]
"""A failure: some command of the installed parts fails here, or answers wrongly. A warning: they
work, but not as well as this machine could, or not for long."""

Work = Literal["train", "train CLIP", "predict"]
"""What a failure stops."""

ALL_WORK: tuple[Work, ...] = ("train", "predict")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in one line: ``what``.

    ``id`` is stable and stands in docs/doctor.md. Where something is wrong, ``why`` says what it
    leads to, ``mend`` the command or setting that ends it, and ``stops`` what can't be done.
    """

    id: str
    mark: Mark
    what: str
    why: str = ""
    mend: str = ""
    stops: tuple[Work, ...] = ()


@dataclass(slots=True)
class Group:
    """The findings about one thing, and with them the raw facts, which are plain values."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


# A test reads the first argument of every call to these four, to hold docs/doctor.md complete.


def ok(id: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(id, "ok", what)


def not_applicable(id: str, what: str, *, why: str = "", mend: str = "") -> Finding:
    """There is nothing to check here, and nothing is wrong with that."""
    return Finding(id, "not applicable", what, why, mend)


def warning(id: str, what: str, *, why: str, mend: str) -> Finding:
    """It works, but not as well as this machine could, or not for long."""
    return Finding(id, "warning", what, why, mend)


def failure(id: str, what: str, *, why: str, mend: str, stops: Iterable[Work]) -> Finding:
    """The work that this ``stops`` fails here, or answers wrongly."""
    return Finding(id, "failure", what, why, mend, tuple(stops))


def listed(items: Iterable[object], last: str = "and") -> str:
    """The items as a sentence has them: a, b and c."""
    *others, final = [str(item) for item in items] or [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def plain(value: object) -> str:
    """A fact as one line of text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""The results of the checks: findings, in groups."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "failure", "not applicable"]
"""A failure: a command of the installed parts fails on this machine, or gives wrong results. A
warning: it works, but slower than it could, or it is likely to fail soon."""

Work = Literal["train", "train CLIP", "predict"]
"""Work that a failure can prevent."""

Works = tuple[Work, ...]
ALL_WORK: Works = ("train", "predict")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check of a ``group``; ``what`` describes it in one line.

    ``id`` is stable and listed in docs/doctor.md. For a problem, ``why`` is the cause or the
    consequence, ``fix`` the command or setting that helps, and ``stops`` the work that it prevents.
    """

    group: str
    id: str
    status: Status
    what: str
    why: str = ""
    fix: str = ""
    stops: Works = ()


@dataclass(slots=True)
class Group:
    """The findings about one subject, and their raw ``facts``, which are plain values.

    The four methods add a finding with that status. A failure prevents the work in ``stops``,
    unless the call names other work. A test reads the ids of all calls, to keep docs/doctor.md
    complete.
    """

    name: str
    stops: Works = ()
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def ok(self, id: str, what: str) -> None:
        self.findings.append(Finding(self.name, id, "ok", what))

    def not_applicable(self, id: str, what: str, why: str = "", fix: str = "") -> None:
        self.findings.append(Finding(self.name, id, "not applicable", what, why, fix))

    def warning(self, id: str, what: str, why: str, fix: str) -> None:
        self.findings.append(Finding(self.name, id, "warning", what, why, fix))

    def failure(self, id: str, what: str, why: str, fix: str, stops: Works = ()) -> None:
        stops = stops or self.stops
        self.findings.append(Finding(self.name, id, "failure", what, why, fix, stops))


def listed(items: Iterable[object], last: str = "and") -> str:
    """Join the items as in a sentence: a, b and c."""
    *others, final = [str(item) for item in items] or [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def variables(*names: str) -> dict[str, str]:
    """The environment variables among ``names`` that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}

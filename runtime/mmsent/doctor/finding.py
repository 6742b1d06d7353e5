"""What the checks report: findings, in groups."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "failure", "not applicable"]
"""A failure: some command of the installed parts fails here, or gives wrong results. A warning:
they work, but slower than this machine allows, or not for long."""

Work = Literal["train", "train CLIP", "predict"]
"""What a failure can stop."""

Works = tuple[Work, ...]
ALL_WORK: Works = ("train", "predict")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check of a ``group`` found, in one line: ``what``.

    ``id`` is stable and listed in docs/doctor.md. Where something is wrong, ``why`` gives the cause
    or the consequence, ``fix`` the command or setting that helps, and ``stops`` what can't be done.
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
    """The findings about one thing, and the raw ``facts`` behind them, which are plain values.

    The four methods add a finding of that status; a failure stops the work in ``stops`` unless it
    names another. A test reads the id in every call, to keep docs/doctor.md complete.
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
    """The items as in a sentence: a, b and c."""
    *others, final = [str(item) for item in items] or [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def variables(*names: str) -> dict[str, str]:
    """Those of the environment variables that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}

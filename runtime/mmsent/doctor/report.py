"""The report: for people, line by line, and as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from mmsent import __version__
from mmsent.doctor.examination import Examination
from mmsent.doctor.finding import Finding, Group, Mark, plain
from mmsent.doctor.redact import redact

FORMAT = 1

_WORDS: dict[Mark, str] = {
    "ok": "[ok]      ",
    "warning": "[warning] ",
    "failure": "[failure] ",
    "not applicable": "[n/a]     ",
}
_SIGNS: dict[Mark, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failure": ("✗", "red"),
    "not applicable": ("-", "bright_black"),
}


def lines(examination: Examination, *, verbose: bool = False) -> Iterator[str]:
    """The report for people: a line as soon as it is known.

    With ``verbose`` come the raw facts, and all of it is rid of what says whose machine this is.
    """
    clean = redact if verbose else lambda text: text
    for group in examination:
        yield group.name if _plain() else click.style(group.name, bold=True)
        for finding in group.findings:
            yield from (clean(line) for line in _describe(finding))
        if verbose:
            yield from (clean(line) for line in _facts(group))
    yield ""
    yield examination.abilities.sentence


def as_json(examination: Examination, *, verbose: bool = False) -> dict[str, Any]:
    """The report as plain values; docs/doctor.md describes the keys."""
    groups = list(examination)
    abilities = asdict(examination.abilities)
    report: dict[str, Any] = {
        "format": FORMAT,
        "mmsent": __version__,
        "ok": not examination.failed,
        "summary": abilities.pop("sentence"),
        "can": abilities,
        "findings": [
            {"group": group.name} | asdict(finding)
            for group in groups
            for finding in group.findings
        ],
    }
    if verbose:
        report["facts"] = {group.name: group.facts for group in groups}
    clean: dict[str, Any] = redact(report) if verbose else report
    return clean


def _describe(finding: Finding) -> Iterator[str]:
    good = finding.mark in ("ok", "not applicable")
    yield f"  {_mark(finding.mark)}{finding.what}" + ("" if good else f"  ({finding.id})")
    indent = " " * (2 + (10 if _plain() else 2))
    if finding.why:
        yield f"{indent}why:  {finding.why}"
    if finding.mend:
        yield f"{indent}mend: {finding.mend}"


def _facts(group: Group) -> Iterator[str]:
    for name, value in group.facts.items():
        text = plain(value).rstrip()
        if "\n" not in text:
            yield f"      {name}: {text}"
        else:
            yield f"      {name}:"
            yield from (f"        {line}" for line in text.splitlines())


def _plain() -> bool:
    """Whether the marks must be words: for a file, for a pipe, and for those who ask for it."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return not sys.stdout.isatty() or "NO_COLOR" in os.environ or not encoding.startswith("utf")


def _mark(mark: Mark) -> str:
    if _plain():
        return _WORDS[mark]
    sign, colour = _SIGNS[mark]
    return click.style(sign, fg=colour, bold=True) + " "

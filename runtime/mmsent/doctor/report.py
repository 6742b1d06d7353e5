"""The report: as lines of text and as JSON."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import indent
from typing import Any

import click

from mmsent import __version__
from mmsent.doctor.finding import Group, Status
from mmsent.doctor.redact import redact
from mmsent.doctor.summary import judge, sentence

FORMAT = 2

_MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("[ok]", "✓", "green"),
    "warning": ("[warning]", "!", "yellow"),
    "failure": ("[failure]", "✗", "red"),
    "not applicable": ("[n/a]", "-", "bright_black"),
}
"""A status in plain text, and its symbol and colour on a terminal."""


def lines(group: Group, *, verbose: bool) -> Iterator[str]:
    """A group as text: its findings and, if ``verbose``, its redacted facts."""
    clean = redact if verbose else str
    plain = _plain()
    yield group.name if plain else click.style(group.name, bold=True)
    for finding in group.findings:
        text, sign, colour = _MARKS[finding.status]
        mark = text.ljust(9) if plain else click.style(sign, fg=colour, bold=True)
        id = f"  ({finding.id})" if finding.status in ("warning", "failure") else ""
        yield f"  {mark} {clean(finding.what)}{id}"
        for name, text in ("why", finding.why), ("fix", finding.fix):
            if text:
                margin = " " * (12 if plain else 4)
                lines = clean(text).replace("\n", f"\n{margin}     ")
                yield f"{margin}{name}: {lines}"
    for name, value in group.facts.items() if verbose else ():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = clean(text).rstrip()
        yield f"      {name}:" + (f"\n{indent(text, ' ' * 8)}" if "\n" in text else f" {text}")


def as_json(groups: Sequence[Group], *, verbose: bool) -> dict[str, Any]:
    """The complete report as plain values; docs/doctor.md describes the keys."""
    findings = [finding for group in groups for finding in group.findings]
    can = judge(findings)
    report: dict[str, Any] = {
        "format": FORMAT,
        "mmsent": __version__,
        "ok": all(finding.status != "failure" for finding in findings),
        "summary": sentence(can, findings),
        "can": asdict(can),
        "findings": [asdict(finding) for finding in findings],
    }
    if verbose:
        report = redact(report | {"facts": {group.name: group.facts for group in groups}})
    return report


def _plain() -> bool:
    """Whether to write plain text: stdout is not a terminal, or NO_COLOR is set."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return not sys.stdout.isatty() or "NO_COLOR" in os.environ or not encoding.startswith("utf")

"""Versions, as far as they are numbers."""

from __future__ import annotations

import re

Version = tuple[int, ...]

_CLAUSE = re.compile(r"(==|>=|<=|!=|<|>)([\d.]+)")


def parse_version(text: str) -> Version:
    """The leading numbers: 535.161.08 is (535, 161, 8), 2.4.1+cu121 is (2, 4, 1), "" is ()."""
    match = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def admits(specifier: str, version: str) -> bool:
    """Whether a version is in a range such as >=2.4,<3; what follows its numbers doesn't count."""
    found = parse_version(version)
    return all(
        _holds(found, sign, parse_version(bound)) for sign, bound in _CLAUSE.findall(specifier)
    )


def _holds(version: Version, sign: str, bound: Version) -> bool:
    length = max(len(version), len(bound))
    left, right = (v + (0,) * (length - len(v)) for v in (version, bound))
    return {
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
    }[sign]

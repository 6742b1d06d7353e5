"""The installed distributions: which parts of mmsent are here, and what they require."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

RUNTIME, TRAINING, EXPORT = PARTS = ("mmsent", "mmsent-training", "mmsent-export")

MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "vadersentiment": "vaderSentiment"}
"""The modules that are not called as their distributions are."""

SUBSTITUTES = {"onnxruntime": ("onnxruntime-gpu",)}
"""Distributions that bring another one's modules."""

# This reads what our own distributions say, and no more of what a requirement may be: `packaging`
# reads all, but it is no dependency of the runtime, and the doctor is for environments in which a
# dependency of a dependency can't be relied upon. A test holds that it reads every requirement.
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+) ?\(?((?:(?:==|>=|<=|!=|<|>)[\d.]+,?)*)\)?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A distribution that another one requires, as ``>=2.4`` or "" for any version.

    ``understood`` is False where it says more than this program reads.
    """

    name: str
    versions: str
    understood: bool = True


def version_of(name: str) -> str | None:
    """The version of an installed distribution, None where it is not installed."""
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def installed_parts() -> list[str]:
    """The parts of mmsent that are installed, the runtime first."""
    return [part for part in PARTS if version_of(part)]


def requirements(name: str) -> list[Requirement]:
    """What a distribution requires, less what it requires only for an extra."""
    found: list[Requirement] = []
    if version_of(name) is None:
        return found
    for text in distribution(name).requires or []:
        requirement, _, marker = (part.strip() for part in text.partition(";"))
        if "extra" in marker:
            continue
        match = _REQUIREMENT.fullmatch(requirement)
        if match and not marker:
            found.append(Requirement(match[1].lower(), match[2]))
        else:
            found.append(Requirement(requirement, "", understood=False))
    return found


def modules(parts: list[str]) -> list[str]:
    """The modules of the libraries that the parts require, those first that the others import."""
    names = [
        MODULES.get(requirement.name, requirement.name.replace("-", "_"))
        for part in parts
        for requirement in requirements(part)
        if requirement.understood and requirement.name not in PARTS
    ]
    first = ["numpy", "onnxruntime", "torch", "torchvision"]
    return sorted(dict.fromkeys(names), key=lambda n: first.index(n) if n in first else len(first))

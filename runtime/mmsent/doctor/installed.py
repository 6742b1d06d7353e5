"""The installed distributions: the parts of mmsent, their versions and their requirements."""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from mmsent.doctor.shell import Shell

RUNTIME, TRAINING, EXPORT = PARTS = ("mmsent", "mmsent-training", "mmsent-export")

INDEX = "https://download.pytorch.org/whl"
"""PyTorch's own index; a build for CUDA 12.1 is under /cu121, one for the CPU under /cpu."""

MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "vadersentiment": "vaderSentiment"}
"""Modules whose names differ from those of their distributions."""

# `packaging` parses every requirement, but the runtime does not depend on it, and the doctor must
# work in a broken environment. This parses all requirements of mmsent; a test checks that.
_REQUIREMENT = re.compile(r"([\w.-]+) ?\(?(?:(==|>=)([\d.]+))?\)?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A required distribution, in the version ``bound`` ("==") or later (">=").

    ``understood`` is False if the requirement has another form; then ``name`` is its whole text.
    """

    name: str
    sign: str = ""
    bound: str = ""
    understood: bool = True

    def __str__(self) -> str:
        return self.name + self.sign + self.bound

    def admits(self, version: str) -> bool:
        """Whether a version meets the requirement; only its first four numbers count."""
        found, bound = ((*parse_version(text), 0, 0, 0, 0)[:4] for text in (version, self.bound))
        return found >= bound if self.sign != "==" else found == bound


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers: 535.161.08 is (535, 161, 8), 2.4.1+cu121 is (2, 4, 1), "" is ()."""
    match = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def version_of(name: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def reinstall(shell: Shell, name: str, *options: str) -> str:
    """The command that reinstalls a distribution in its current version."""
    version = str(version_of(name))
    words = (*options, f"{name}=={version}", *build_index(version))
    return shell.pip("install", "--force-reinstall", *words)


def build_index(version: str) -> list[str]:
    """Options of pip for the PyTorch index of a build such as 2.4.1+cu121; else none."""
    build = version.partition("+")[2]
    return ["--index-url", f"{INDEX}/{build}"] if re.fullmatch(r"cpu|cu\d+", build) else []


def installed_parts() -> list[str]:
    """The installed parts of mmsent, the runtime first."""
    return [part for part in PARTS if version_of(part)]


def requirements(name: str) -> list[Requirement]:
    """The requirements of a distribution, without extras; none if it is not installed."""
    found = []
    for text in (distribution(name).requires or []) if version_of(name) else []:
        requirement, _, marker = (part.strip() for part in text.partition(";"))
        match = _REQUIREMENT.fullmatch(requirement)
        if match and not marker:
            found.append(Requirement(match[1].lower(), match[2] or "", match[3] or ""))
        elif "extra" not in marker:
            found.append(Requirement(text, understood=False))
    return found


def modules(parts: list[str]) -> list[str]:
    """The modules of the required libraries; those that others import come first."""
    required = dict.fromkeys(
        requirement.name
        for part in parts
        for requirement in requirements(part)
        if requirement.understood and requirement.name not in PARTS
    )
    names = [MODULES.get(name, name.replace("-", "_")) for name in required]
    first = ["numpy", "onnxruntime", "torch", "torchvision"]
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))

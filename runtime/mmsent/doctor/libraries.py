"""The libraries: whether each is installed, in the range that is declared, and can be imported."""

from __future__ import annotations

from typing import Any

from mmsent.doctor.child import Told
from mmsent.doctor.finding import ALL_WORK, Finding, Group, Work, failure, ok, warning
from mmsent.doctor.installed import (
    MODULES,
    PARTS,
    RUNTIME,
    SUBSTITUTES,
    Requirement,
    installed_parts,
    requirements,
    version_of,
)
from mmsent.doctor.system import PIP
from mmsent.doctor.version import admits

_SAID_ELSEWHERE = ("torch", "onnxruntime")  # that they are missing

# Their groups say more of their import errors.
_ELSEWHERE = ("torch", "torchvision", "onnxruntime")


def examine_libraries(libraries: Told) -> Group:
    """Compare what is installed with what the parts of mmsent declare."""
    group = Group("Libraries")
    for part in installed_parts():
        versions: dict[str, Any] = {}
        faults = []
        stops: tuple[Work, ...] = ALL_WORK if part == RUNTIME else ("train",)
        for requirement in requirements(part):
            version = _installed_version(requirement.name)
            versions[requirement.name] = version
            if fault := _compare(part, requirement, version, stops):
                faults.append(fault)
        group.facts[f"{part} {version_of(part)}"] = versions
        if not faults and all(versions.values()):
            whole = f"{part} {version_of(part)}: its {len(versions)} requirements are met"
            group.findings.append(ok("libraries", whole))
        group.findings += faults
    group.findings += _import_errors(libraries)
    return group


def _installed_version(name: str) -> str | None:
    found = (version_of(one) for one in (name, *SUBSTITUTES.get(name, ())))
    return next(filter(None, found), None)


def _compare(
    part: str, requirement: Requirement, version: str | None, stops: tuple[Work, ...]
) -> Finding | None:
    wanted = f"{requirement.name}{requirement.versions}"
    mend = f"{PIP} install '{wanted}'"
    if not requirement.understood:
        return warning(
            "library-requirement-unread",
            f"{part} requires {requirement.name!r}, which the doctor can't compare",
            why="it may or may not be met",
            mend=f"{PIP} check",
        )
    if version is None:
        if requirement.name in _SAID_ELSEWHERE:
            return None
        return failure(
            "library-missing",
            f"{requirement.name} is not installed",
            why=f"{part} requires {wanted}",
            mend=mend,
            stops=stops,
        )
    if admits(requirement.versions, version):
        return None
    if requirement.name in PARTS:
        return failure(
            "mmsent-versions-differ",
            f"{part} {version_of(part)} stands beside {requirement.name} {version}",
            why="the parts of mmsent are made for each other in one version",
            mend=f"{PIP} install '{wanted}'  # or {part} in the version {version}",
            stops=stops,
        )
    return failure(
        "library-version",
        f"{requirement.name} {version} is not in the range that {part} declares",
        why=f"it requires {wanted}",
        mend=mend,
        stops=stops,
    )


def _import_errors(libraries: Told) -> list[Finding]:
    errors: dict[str, str] = libraries.facts.get("errors", {})
    names = {module: name for name, module in MODULES.items()}
    runtime = {requirement.name for requirement in requirements(RUNTIME)}
    explained = [error.partition(": ")[2] for name, error in errors.items() if name in _ELSEWHERE]
    findings = []
    for module, error in errors.items():
        # A library that fails because torch or torchvision does is none of its own.
        if module in _ELSEWHERE or any(reason and reason in error for reason in explained):
            continue
        name = names.get(module, module.replace("_", "-"))
        version = _installed_version(name)
        if version is None:
            continue  # said already
        findings.append(
            failure(
                "library-import-fails",
                f"{name} {version} can't be imported",
                why=error.splitlines()[0],
                mend=f"{PIP} install --force-reinstall --no-deps {name}=={version}",
                stops=ALL_WORK if name in runtime else ("train",),
            )
        )
    return findings

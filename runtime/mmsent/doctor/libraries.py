"""The libraries: whether each is installed, has a supported version, and can be imported."""

from mmsent.doctor import installed
from mmsent.doctor.finding import ALL_WORK, Group, Works
from mmsent.doctor.installed import PARTS, RUNTIME, Requirement, installed_parts, version_of
from mmsent.doctor.process import ProbeResult
from mmsent.doctor.shell import Shell

# The groups PyTorch and ONNX Runtime report these.
_MISSING_ELSEWHERE = ("torch", "onnxruntime")
_IMPORTED_ELSEWHERE = ("torch", "torchvision", "onnxruntime")


def check_libraries(probe: ProbeResult, shell: Shell) -> Group:
    """Compare the installed libraries with the requirements of mmsent's parts."""
    group = Group("Libraries")
    for part in installed_parts():
        required = installed.requirements(part)
        versions = {each.name: _installed_version(each.name) for each in required}
        group.facts[f"{part} {version_of(part)}"] = versions
        before = len(group.findings)
        for requirement in required:
            _compare(group, part, requirement, versions[requirement.name], shell)
        if len(group.findings) == before and all(versions.values()):
            count = len(versions)
            group.ok("libraries", f"{part} {version_of(part)}: its {count} requirements are met")
    _check_imports(group, probe, shell)
    return group


def _installed_version(name: str) -> str | None:
    """The version of a distribution, or of one that installs the same modules."""
    return version_of(name) or (version_of("onnxruntime-gpu") if name == "onnxruntime" else None)


def _compare(
    group: Group, part: str, requirement: Requirement, version: str | None, shell: Shell
) -> None:
    name, wanted = requirement.name, str(requirement)
    stops: Works = ALL_WORK if part == RUNTIME else ("train",)
    why, fix = f"{part} requires {wanted}", shell.pip("install", wanted)
    if not requirement.understood:
        what = f"{part} requires {name!r}, which the doctor can't parse"
        why, fix = "it is unknown whether it is met", shell.pip("check")
        group.warning("library-requirement-unread", what, why, fix)
    elif version is None and name in _MISSING_ELSEWHERE:
        pass
    elif version is None:
        group.failure("library-missing", f"{name} is not installed", why, fix, stops)
    elif name in PARTS and not requirement.admits(version):
        what = f"{part} is {version_of(part)}, but {name} is {version}"
        why = "all parts of mmsent must have the same version"
        group.failure("mmsent-versions-differ", what, why, f"{fix}  # or {part}=={version}", stops)
    elif not requirement.admits(version):
        what = f"{name} {version} is not in the range that {part} requires"
        group.failure("library-version", what, why, fix, stops)


def _check_imports(group: Group, probe: ProbeResult, shell: Shell) -> None:
    errors: dict[str, str] = probe.facts.get("errors", {})
    names = {module: name for name, module in installed.MODULES.items()}
    runtime = {requirement.name for requirement in installed.requirements(RUNTIME)}
    causes = [errors[name].partition(": ")[2] for name in _IMPORTED_ELSEWHERE if name in errors]
    for module, error in errors.items():
        name = names.get(module, module.replace("_", "-"))
        version = _installed_version(name)
        # Skip a library that fails only because torch or torchvision fails.
        blameless = any(cause and cause in error for cause in causes)
        if version and not blameless and module not in _IMPORTED_ELSEWHERE:
            what, why = f"{name} {version} can't be imported", error.splitlines()[0]
            stops: Works = ALL_WORK if name in runtime else ("train",)
            fix = installed.reinstall(shell, name, "--no-deps")
            group.failure("library-import-fails", what, why, fix, stops)

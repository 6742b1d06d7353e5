"""ONNX Runtime: whether each of its providers computes, and rightly."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmsent.doctor.child import Told
from mmsent.doctor.finding import (
    Finding,
    Group,
    failure,
    listed,
    not_applicable,
    ok,
    warning,
)
from mmsent.doctor.installed import version_of
from mmsent.doctor.nvidia import Driver
from mmsent.doctor.system import PIP

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CLEAN = f"{PIP} uninstall -y onnxruntime onnxruntime-gpu && {PIP} install onnxruntime"


def examine_onnxruntime(told: Told, driver: Driver) -> Group:
    """Judge what the probe of ONNX Runtime told."""
    facts = told.facts | {"stderr": told.answer.errors}
    versions = {name: version_of(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    group = Group("ONNX Runtime", facts=facts | {"distributions": versions})
    if not any(versions.values()) and "version" not in facts:
        group.findings.append(
            failure(
                "onnxruntime-missing",
                "onnxruntime is not installed",
                why="a bundle can't be opened without it",
                mend=f"{PIP} install onnxruntime",
                stops=["predict"],
            )
        )
        return group
    if all(versions.values()):
        both = listed(f"{name} {version}" for name, version in versions.items())
        group.findings.append(
            warning(
                "onnxruntime-twice",
                f"{both} are both installed",
                why="they write the same files: what is imported is a mixture of the two, and "
                "removing one breaks the other",
                mend=_CLEAN,
            )
        )
    if "import_error" in facts:
        group.findings.append(
            failure(
                "onnxruntime-import-fails",
                "onnxruntime can't be imported",
                why=facts["import_error"].splitlines()[0],
                mend=_CLEAN,
                stops=["predict"],
            )
        )
        return group
    if "version" in facts:
        names = listed(
            provider.removesuffix("ExecutionProvider") for provider in facts["providers"]
        )
        group.findings.append(ok("onnxruntime", f"onnxruntime {facts['version']}, with {names}"))
    results: dict[str, str] = facts.get("results", {})
    for provider, result in results.items():
        group.findings.append(_judge(provider, result, told, driver))
    if not told.done:
        group.findings.append(_dead(told))
    return group


def _judge(provider: str, result: str, told: Told, driver: Driver) -> Finding:
    name = provider.removesuffix("ExecutionProvider")
    if result == "right":
        return ok("onnxruntime-provider", f"{name} computes rightly")
    if provider == _CPU:
        return failure(
            "onnxruntime-cpu-fails",
            "ONNX Runtime does not compute rightly on the CPU",
            why=f"a small model: {result}",
            mend=_CLEAN,
            stops=["predict"],
        )
    if provider == _CUDA and result != "wrong" and driver.present:
        return warning(
            "onnxruntime-cuda-fails",
            "ONNX Runtime can't load its CUDA provider",
            why=_wants(told, result),
            mend=f"{PIP} install 'onnxruntime-gpu[cuda,cudnn]'  # mmsent predicts on the CPU "
            "in any case",
        )
    if result == "wrong":
        return warning(
            "onnxruntime-provider-wrong",
            f"{name} computes wrongly",
            why="mmsent predicts on the CPU, but other programs may take this provider",
            mend="upgrade the driver, and onnxruntime-gpu",
        )
    return not_applicable(
        "onnxruntime-provider-unused", f"{name} is not usable here; mmsent does not need it"
    )


def _wants(told: Told, result: str) -> str:
    """Which CUDA and cuDNN the provider wants, and which file it lacks."""
    errors = told.answer.errors
    cuda = told.facts.get("cuda", "")
    parts = [f"this build is for CUDA {cuda}" if cuda else ""]
    parts += _found(r"(\S+\.so[.\d]*): cannot open shared object file", errors, "{} is missing")
    parts += _found(
        r"[Rr]equires? (cuDNN [\d.*]+ and CUDA \d+(?:\.[\d*]+)*)", errors, "it wants {}"
    )
    return "; ".join(part for part in parts if part) or result


def _found(pattern: str, text: str, sentence: str) -> Iterable[str]:
    match = re.search(pattern, text)
    return [sentence.format(match[1])] if match else []


def _dead(told: Told) -> Finding:
    if told.hung:
        return failure(
            "onnxruntime-hangs",
            f"ONNX Runtime {told.end}",
            why="a driver that is stuck does that, or a very slow disk",
            mend="mmsent doctor --time-limit 120  # if the disk is slow; else reboot",
            stops=["predict"],
        )
    return failure(
        "onnxruntime-crashes",
        f"ONNX Runtime {told.end}",
        why=told.reason,
        mend=_CLEAN,
        stops=["predict"],
    )

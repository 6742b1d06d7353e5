"""ONNX Runtime: whether each execution provider computes correctly."""

import re
from typing import Any

from mmsent.doctor.finding import Group, listed
from mmsent.doctor.installed import parse_version, version_of
from mmsent.doctor.nvidia import Driver
from mmsent.doctor.process import RETRY, ProbeResult
from mmsent.doctor.shell import Shell

_NAMES = ("onnxruntime", "onnxruntime-gpu")


def check_onnxruntime(probe: ProbeResult, driver: Driver, shell: Shell) -> Group:
    """Evaluate the probe of ONNX Runtime."""
    versions = {name: version_of(name) for name in _NAMES}
    clean = _replace("onnxruntime" if not driver.gpus else _for_gpu(driver), shell)
    group = Group("ONNX Runtime", stops=("predict",))
    facts = group.facts = probe.facts | {"stderr": probe.stderr, "distributions": versions}
    if not any(versions.values()) and "version" not in facts:
        what, why = "onnxruntime is not installed", "mmsent needs it to open a bundle"
        group.failure("onnxruntime-missing", what, why, shell.pip("install", "onnxruntime"))
        return group
    if all(versions.values()):
        both = listed(f"{name} {version}" for name, version in versions.items())
        why = "they overwrite each other's files, and removing one breaks both"
        group.warning("onnxruntime-twice", f"{both} are both installed", why, clean)
    if "import_error" in facts:
        why = facts["import_error"].splitlines()[0]
        group.failure("onnxruntime-import-fails", "onnxruntime can't be imported", why, clean)
        return group
    if "version" in facts:
        names = listed(map(_short, facts["providers"]))
        name = "onnxruntime" if versions["onnxruntime"] else "onnxruntime-gpu"
        group.ok("onnxruntime", f"{name} {facts['version']}, with {names}")
    for provider, result in facts.get("results", {}).items():
        _check_provider(group, _short(provider), result, driver, clean)
    if driver.gpus and not _for_cuda(facts):
        what = "this ONNX Runtime supports only CPUs; the machine has "
        what += listed(gpu.name for gpu in driver.gpus)
        group.not_applicable("onnxruntime-cpu-build", what, "mmsent predicts on the CPU", clean)
    if probe.hung:
        group.failure("onnxruntime-hangs", f"ONNX Runtime {probe.end}", probe.reason, RETRY)
    elif not probe.done:
        group.failure("onnxruntime-crashes", f"ONNX Runtime {probe.end}", probe.reason, clean)
    return group


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def _for_cuda(facts: dict[str, Any]) -> bool:
    """Whether this is a CUDA build; assume so if the probe does not say."""
    return "CUDAExecutionProvider" in facts.get("providers", ["CUDAExecutionProvider"])


def _for_gpu(driver: Driver) -> str:
    """The onnxruntime-gpu for a driver: up to 1.26 for CUDA 12, later versions for CUDA 13."""
    pin = "" if parse_version(driver.cuda) >= (13,) else "==1.26.0"
    return f"onnxruntime-gpu[cuda,cudnn]{pin}"


def _replace(package: str, shell: Shell) -> str:
    """The command that leaves only ``package`` installed: both install the same module."""
    return shell.both(shell.pip("uninstall", "-y", *_NAMES), shell.pip("install", package))


def _check_provider(group: Group, name: str, result: str, driver: Driver, clean: str) -> None:
    if result == "right" and name == "CUDA":
        group.ok("onnxruntime-gpu", f"{name} computes correctly: mmsent predicts on the GPU")
    elif result == "right":
        group.ok("onnxruntime-provider", f"{name} computes correctly")
    elif name == "CPU":
        what = "ONNX Runtime does not compute correctly on the CPU"
        group.failure("onnxruntime-cpu-fails", what, f"a small model: {result}", clean)
    elif result == "wrong":
        why = "a small model's result is wrong"
        if name == "CUDA":
            why += "; mmsent still uses it, except with mmsent-infer --device cpu"
        fix = "upgrade the driver and onnxruntime-gpu"
        group.warning("onnxruntime-provider-wrong", f"{name} computes wrong results", why, fix)
    elif name == "CUDA" and driver.present:
        what = "ONNX Runtime can't compute with CUDA"
        why = f"{_missing(group, result)}; mmsent predicts on the CPU"
        group.warning("onnxruntime-cuda-fails", what, why, clean)
    else:
        what = f"{name} does not work here; mmsent predicts without it"
        group.not_applicable("onnxruntime-provider-unused", what)


def _missing(group: Group, result: str) -> str:
    """The CUDA and cuDNN that the CUDA provider requires and the missing file, or its error."""
    stderr = group.facts["stderr"]
    file = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", stderr)
    needs = re.search(r"[Rr]equires? (cuDNN [\d.*]+ and CUDA \d+(?:\.[\d*]+)*)", stderr)
    cuda = group.facts.get("cuda")
    parts = [f"this build is for CUDA {cuda}"] if cuda else []
    parts += [f"{file[1]} is missing"] if file else []
    parts += [f"it requires {needs[1]}"] if needs else []
    parts += [result] if not file and not needs else []
    return "; ".join(parts)

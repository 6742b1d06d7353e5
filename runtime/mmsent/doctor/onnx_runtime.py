"""ONNX Runtime: whether each of its providers computes correctly."""

import re

from mmsent.doctor.finding import Group, listed
from mmsent.doctor.installed import PIP, version_of
from mmsent.doctor.nvidia import Driver
from mmsent.doctor.process import RETRY, ProbeResult

_CLEAN = f"{PIP} uninstall -y onnxruntime onnxruntime-gpu && {PIP} install onnxruntime"


def check_onnxruntime(probe: ProbeResult, driver: Driver) -> Group:
    """Judge the probe of ONNX Runtime."""
    versions = {name: version_of(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    group = Group("ONNX Runtime", stops=("predict",))
    facts = group.facts = probe.facts | {"stderr": probe.stderr, "distributions": versions}
    if not any(versions.values()) and "version" not in facts:
        what, why = "onnxruntime is not installed", "mmsent needs it to open a bundle"
        group.failure("onnxruntime-missing", what, why, f"{PIP} install onnxruntime")
        return group
    if all(versions.values()):
        both = listed(f"{name} {version}" for name, version in versions.items())
        why = "they write the same files: the import gets a mixture, and removing one breaks both"
        group.warning("onnxruntime-twice", f"{both} are both installed", why, _CLEAN)
    if "import_error" in facts:
        why = facts["import_error"].splitlines()[0]
        group.failure("onnxruntime-import-fails", "onnxruntime can't be imported", why, _CLEAN)
        return group
    if "version" in facts:
        names = listed(map(_short, facts["providers"]))
        group.ok("onnxruntime", f"onnxruntime {facts['version']}, with {names}")
    for provider, result in facts.get("results", {}).items():
        _check_provider(group, _short(provider), result, driver)
    if probe.hung:
        group.failure("onnxruntime-hangs", f"ONNX Runtime {probe.end}", probe.reason, RETRY)
    elif not probe.done:
        group.failure("onnxruntime-crashes", f"ONNX Runtime {probe.end}", probe.reason, _CLEAN)
    return group


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def _check_provider(group: Group, name: str, result: str, driver: Driver) -> None:
    if result == "right":
        group.ok("onnxruntime-provider", f"{name} computes correctly")
    elif name == "CPU":
        what = "ONNX Runtime does not compute correctly on the CPU"
        group.failure("onnxruntime-cpu-fails", what, f"a small model: {result}", _CLEAN)
    elif result == "wrong":
        why = "mmsent predicts on the CPU, but other programs may use this provider"
        fix = "upgrade the driver and onnxruntime-gpu"
        group.warning("onnxruntime-provider-wrong", f"{name} computes wrong results", why, fix)
    elif name == "CUDA" and driver.present:
        what = "ONNX Runtime can't load its CUDA provider"
        fix = f"{PIP} install 'onnxruntime-gpu[cuda,cudnn]'  # mmsent predicts on the CPU anyway"
        group.warning("onnxruntime-cuda-fails", what, _missing(group) or result, fix)
    else:
        what = f"{name} can't be used here; mmsent does not need it"
        group.not_applicable("onnxruntime-provider-unused", what)


def _missing(group: Group) -> str:
    """Which CUDA and cuDNN the CUDA provider needs, and which file it misses; "" if unknown."""
    stderr = group.facts["stderr"]
    file = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", stderr)
    needs = re.search(r"[Rr]equires? (cuDNN [\d.*]+ and CUDA \d+(?:\.[\d*]+)*)", stderr)
    cuda = group.facts.get("cuda")
    parts = [f"this build is for CUDA {cuda}"] if cuda else []
    parts += [f"{file[1]} is missing"] if file else []
    parts += [f"it needs {needs[1]}"] if needs else []
    return "; ".join(parts)

"""OpenMP: the runtimes that the libraries load, and whether they can share a process."""

import os
import re
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from mmsent.doctor.finding import ALL_WORK, Group, listed, variables
from mmsent.doctor.process import RETRY, ProbeResult
from mmsent.doctor.shell import Shell

ALLOW = "KMP_DUPLICATE_LIB_OK"
_VARIABLES = ("OMP_NUM_THREADS", "MKL_THREADING_LAYER", "LD_PRELOAD")
_REMOVABLE = {
    "intel-openmp",
    "mkl",
    "llvm-openmp",
}  # they contain only the runtime, or depend on it
_LLVM = re.compile(r"lib(iomp5|omp)\b")


def check_openmp(libraries: ProbeResult, shell: Shell) -> Group:
    """Evaluate the import of all libraries into one process."""
    group = Group("OpenMP", stops=ALL_WORK, facts=libraries.facts | {"stderr": libraries.stderr})
    group.facts["environment"] = variables(ALLOW, *_VARIABLES)
    runtimes: dict[str, str] = libraries.facts.get("openmp", {})
    related = {path: module for path, module in runtimes.items() if _is_llvm(path)}
    if not libraries.done:
        _report_death(group, libraries, related, shell)
    elif len(related) > 1:
        what = f"the libraries load {len(related)} OpenMP runtimes of one family: {_named(related)}"
        why = "in one process they may crash, deadlock or compute wrong results"
        group.warning("openmp-duplicates", what, why, _one_source(related, shell))
    elif runtimes:
        names = listed(f"{Path(path).name} (by {module})" for path, module in runtimes.items())
        group.ok("openmp", f"{names}: they can share a process")
    elif shell.powershell:
        group.not_applicable("openmp-none", "the loaded OpenMP runtimes are unknown on this system")
    else:
        group.not_applicable("openmp-none", "no library loads an OpenMP runtime")
    value = os.environ.get(ALLOW, "")
    if value.lower() in ("", "0", "false", "off", "no"):
        return group
    if libraries.done and len(related) < 2:
        what = f"{ALLOW}={value} has no effect: no two runtimes of one family are loaded"
        group.ok("openmp-duplicates-allowed", what)
    else:
        what = f"{ALLOW}={value} lets two OpenMP runtimes run in one process"
        why = "its developers call that unsafe: it may crash, or silently compute wrong results"
        fix = f"{shell.unset(ALLOW)}  # if Error #15 follows, run the doctor again"
        group.warning("openmp-duplicates-allowed", what, why, fix)
    return group


def _is_llvm(path: str) -> bool:
    """Whether a file is Intel's or LLVM's runtime. They share code and must not be loaded twice."""
    return bool(_LLVM.match(Path(path).name))


def _report_death(
    group: Group, libraries: ProbeResult, related: dict[str, str], shell: Shell
) -> None:
    module = libraries.facts.get("module", "the libraries")
    if libraries.hung:
        what = f"importing the libraries together {libraries.end}"
        why = "two OpenMP runtimes can deadlock; or the disk is slow, or the machine busy"
        group.failure("libraries-hang", what, why, RETRY)
    elif "Error #15" in libraries.stderr:
        copies = _installed_copies() | related
        what = f"two OpenMP runtimes abort the process (importing {module})"
        why = f"{libraries.reason}; the copies: {_named(copies)}" if copies else libraries.reason
        group.failure("openmp-abort", what, why, _one_source(copies, shell))
    else:
        what = f"the libraries can't be imported into one process: it {libraries.end}"
        fix = shell.pip("install", "--force-reinstall", "--no-deps", module)
        fix += "  # the last library imported; PYTHONPATH"
        fix += " or PATH" if shell.powershell else " or LD_LIBRARY_PATH"
        fix += " may add other files"
        group.failure("libraries-crash", what, libraries.reason, fix)


def _named(copies: dict[str, str]) -> str:
    return listed(f"{path} (by {owner})" for path, owner in copies.items())


def _installed_copies() -> dict[str, str]:
    """Intel's and LLVM's runtimes in this environment, with the distributions that own them."""
    found = {}
    for distribution in distributions():
        for file in distribution.files or []:
            if _is_llvm(file.name) and re.search(r"\.(so|dylib|dll)", file.name):
                found[os.path.realpath(str(file.locate()))] = distribution.metadata["Name"]
    conda = os.environ.get("CONDA_PREFIX")
    for path in Path(conda, "lib").glob("lib*omp*") if conda else ():
        if _is_llvm(path.name):
            found.setdefault(os.path.realpath(path), "conda")
    return found


def _one_source(files: Iterable[str], shell: Shell) -> str:
    """How to remove all but one of the runtimes in ``files``."""
    if "CONDA_PREFIX" in os.environ:
        return (
            "install all libraries from one source: in a new environment, use only pip or only "
            f"conda; `{shell.conda_openmp}` lists conda's"
        )
    paths = [os.path.realpath(file) for file in files]
    owners = {owner for path, owner in _installed_copies().items() if path in paths}
    if removable := sorted(owners & _REMOVABLE):
        return shell.pip("uninstall", *removable)
    return (
        "keep only one of the libraries that contain these files, or reinstall both from one source"
    )

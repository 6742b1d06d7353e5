"""OpenMP: which runtimes the libraries load into one process, and whether they may share it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from mmsent.doctor.child import Told
from mmsent.doctor.finding import (
    ALL_WORK,
    Finding,
    Group,
    failure,
    listed,
    not_applicable,
    ok,
    warning,
)
from mmsent.doctor.system import PIP

ALLOWED = "KMP_DUPLICATE_LIB_OK"
_OFF = ("", "0", "false", "off", "no")
_LLVM = re.compile(r"lib(iomp5|omp)\b|lib(iomp5|omp)-")
_FACTS = (ALLOWED, "OMP_NUM_THREADS", "MKL_THREADING_LAYER", "LD_PRELOAD")


def examine_openmp(libraries: Told) -> Group:
    """Judge what importing all libraries into one process did."""
    facts = libraries.facts | {
        "stderr": libraries.answer.errors,
        "environment": {name: os.environ[name] for name in _FACTS if name in os.environ},
    }
    group = Group("OpenMP", facts=facts)
    allowed = os.environ.get(ALLOWED, "")
    runtimes: dict[str, str] = libraries.facts.get("openmp", {})
    group.findings.append(_dead(libraries) if not libraries.done else _judge(runtimes))
    if allowed.lower() not in _OFF:
        group.findings.append(_judge_allowed(allowed, libraries.done and len(_kin(runtimes)) < 2))
    return group


def _judge(runtimes: dict[str, str]) -> Finding:
    """Intel's and LLVM's runtimes are one code that counts on being alone; GNU's is not."""
    kin = _kin(runtimes)
    if len(kin) > 1:
        return warning(
            "openmp-duplicates",
            f"{len(kin)} OpenMP runtimes of one family are loaded together: "
            f"{listed(_described(path, runtimes[path]) for path in kin)}",
            why="in one process they are known to crash, to wait for each other for ever, or to "
            "compute wrongly",
            mend=_one_source(kin),
        )
    if not runtimes:
        return not_applicable("openmp-none", "no library here loads an OpenMP runtime")
    names = listed(f"{Path(path).name} (by {module})" for path, module in runtimes.items())
    return ok("openmp", f"{names}: they can share a process")


def _judge_allowed(value: str, needless: bool) -> Finding:
    if needless:
        return ok(
            "openmp-duplicates-allowed",
            f"{ALLOWED}={value} changes nothing: no two runtimes of one family are loaded",
        )
    return warning(
        "openmp-duplicates-allowed",
        f"{ALLOWED}={value} lets two OpenMP runtimes run in one process",
        why="its makers call that unsafe and unsupported: it may crash, or compute wrongly "
        "without a word",
        mend=f"unset {ALLOWED}  # if an abort with Error #15 follows, the doctor says how to "
        "mend that",
    )


def _kin(runtimes: Iterable[str]) -> list[str]:
    """The files of Intel's and LLVM's runtimes."""
    return [path for path in runtimes if _LLVM.match(Path(path).name)]


def _dead(libraries: Told) -> Finding:
    module = libraries.facts.get("module", "the libraries")
    if libraries.hung:
        return failure(
            "libraries-hang",
            f"importing the libraries together {libraries.end}",
            why="two OpenMP runtimes in one process can wait for each other; or the disk is slow",
            mend="mmsent doctor --time-limit 120  # if the disk is slow",
            stops=ALL_WORK,
        )
    if "Error #15" in libraries.answer.errors:
        loaded: dict[str, str] = libraries.facts.get("openmp", {})
        copies = _copies() | {path: loaded[path] for path in _kin(loaded)}
        where = f"; the copies: {listed(_described(*copy) for copy in copies.items())}"
        return failure(
            "openmp-abort",
            f"two OpenMP runtimes abort the process (importing {module})",
            why=libraries.reason + (where if copies else ""),
            mend=_one_source(list(copies)),
            stops=ALL_WORK,
        )
    return failure(
        "libraries-crash",
        f"the libraries can't be imported into one process: it {libraries.end}",
        why=libraries.reason,
        mend=f"{PIP} install --force-reinstall --no-deps {module}  # the library that was imported "
        "last; PYTHONPATH and LD_LIBRARY_PATH may bring foreign parts",
        stops=ALL_WORK,
    )


def _described(path: str, owner: str) -> str:
    return f"{path} (by {owner})"


def _copies() -> dict[str, str]:
    """The files of Intel's and LLVM's runtimes in this environment, and whose each is."""
    found = {}
    for distribution in distributions():
        for file in distribution.files or []:
            if _LLVM.match(file.name) and re.search(r"\.(so|dylib|dll)", file.name):
                found[os.path.realpath(str(file.locate()))] = distribution.metadata["Name"]
    conda = os.environ.get("CONDA_PREFIX")
    for path in Path(conda, "lib").glob("lib*omp*") if conda else ():
        if _LLVM.match(path.name):
            found.setdefault(os.path.realpath(path), "conda")
    return found


def _one_source(files: list[str]) -> str:
    if "CONDA_PREFIX" in os.environ:
        return (
            "take all libraries from one source: in a new environment, install them with pip alone "
            "or with conda alone; `conda list | grep -i -e openmp -e mkl` shows what conda brought"
        )
    owners = {owner for path, owner in _copies().items() if path in map(os.path.realpath, files)}
    extra = sorted(owners & {"intel-openmp", "mkl", "llvm-openmp"})
    if extra:  # they are nothing but the runtime, or bring it along
        return f"{PIP} uninstall {' '.join(extra)}"
    return (
        "keep one of the libraries that bring these files, or install both anew from one source, "
        "so that they share one runtime"
    )

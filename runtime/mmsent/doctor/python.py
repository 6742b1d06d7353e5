"""Python: which one runs, and whether it is the active environment's."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

from mmsent.doctor.finding import Finding, Group, ok, warning

_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
_FACTS = (
    *_ACTIVE,
    "CONDA_DEFAULT_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
)


def examine_python() -> Group:
    """Compare the running interpreter with the environment that the shell has activated."""
    facts = {
        "executable": sys.executable,
        "version": sys.version,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "path": sys.path,
        "environment": {name: os.environ[name] for name in _FACTS if name in os.environ},
    }
    findings = [ok("python", f"{_name()} in {_environment()}")]
    if stranger := _other_environment():
        findings.append(stranger)
    return Group("Python", findings, facts)


def _name() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _environment() -> str:
    prefix = Path(sys.prefix)
    if sys.prefix != sys.base_prefix:
        return f"the virtual environment {prefix}"
    if (prefix / "conda-meta").is_dir():
        return f"the conda environment {prefix}"
    return f"no environment: {sys.executable}"


def _other_environment() -> Finding | None:
    """The trap of `conda run` and of a stale PATH: another environment is active than runs."""
    # Of two active environments the one that comes first on PATH was activated last.
    places = os.environ.get("PATH", "").split(os.pathsep)
    active = [(name, os.environ[name]) for name in _ACTIVE if os.environ.get(name)]
    active.sort(key=lambda item: _position(places, item[1]))
    if not active or os.path.realpath(active[0][1]) == os.path.realpath(sys.prefix):
        return None
    variable, folder = active[0]
    programs = Path(folder, "Scripts" if os.name == "nt" else "bin")
    if (programs / "mmsent").exists():
        mend = f"{shlex.quote(str(programs / 'mmsent'))} doctor  # and so on: that one's mmsent"
    elif programs.is_dir():
        mend = f"{shlex.quote(str(programs / 'python'))} -m pip install mmsent"
    else:
        mend = f"unset {variable}  # there is no such environment any more"
    return warning(
        "python-not-the-active-environment",
        f"{variable} names the environment {folder}, but {sys.executable} runs",
        why="what is installed in the active environment is not seen here, and the other way round",
        mend=mend,
    )


def _position(places: list[str], environment: str) -> int:
    folders = (str(Path(environment, name)) for name in ("bin", "Scripts"))
    return min((places.index(folder) for folder in folders if folder in places), default=1 << 30)

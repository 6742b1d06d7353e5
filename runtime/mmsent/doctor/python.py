"""Python: which interpreter runs, and whether it belongs to the active environment."""

import os
import platform
import sys
from pathlib import Path

from mmsent.doctor.finding import Group, variables
from mmsent.doctor.system import System

_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
_PYTHON = ("CONDA_DEFAULT_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE")


def check_python(system: System) -> Group:
    """Compare the running interpreter with the environment that the shell has activated."""
    group = Group("Python")
    group.facts = {
        "executable": sys.executable,
        "version": sys.version,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "path": sys.path,
        "environment": variables(*_ACTIVE, *_PYTHON, "LD_LIBRARY_PATH", "LD_PRELOAD"),
    }
    name = f"{platform.python_implementation()} {platform.python_version()}"
    group.ok("python", f"{name} in {_environment()}")
    # Of two active environments, the one that comes first on PATH was activated last.
    active = [(name, os.environ[name]) for name in _ACTIVE if os.environ.get(name)]
    programs = "Scripts" if system.windows else "bin"
    found = ((_position_on_path(folder, programs), name, folder) for name, folder in active)
    _, variable, folder = min(found, default=(0, "", sys.prefix))
    if os.path.realpath(folder) != os.path.realpath(sys.prefix):
        # `conda run` and a stale PATH cause this.
        what = f"{variable} names the environment {folder}, but {sys.executable} runs"
        why = "what is installed in one of the two is missing in the other"
        fix = _use_environment(variable, Path(folder), system)
        group.warning("python-not-the-active-environment", what, why, fix)
    return group


def _environment() -> str:
    if sys.prefix != sys.base_prefix:
        return f"the virtual environment {sys.prefix}"
    if Path(sys.prefix, "conda-meta").is_dir():
        return f"the conda environment {sys.prefix}"
    return f"no environment: {sys.executable}"


def _position_on_path(folder: str, programs: str) -> int:
    places = os.environ.get("PATH", "").split(os.pathsep)
    path = str(Path(folder, programs))
    return places.index(path) if path in places else len(places)


def _use_environment(variable: str, folder: Path, system: System) -> str:
    shell, windows = system.shell, system.windows
    mmsent = folder / ("Scripts/mmsent.exe" if windows else "bin/mmsent")
    if mmsent.exists():
        return f"{shell.command(str(mmsent), 'doctor')}  # the mmsent of that environment"
    # On Windows, conda's Python is at the top of the environment's folder.
    names = ("Scripts/python.exe", "python.exe") if windows else ("bin/python",)
    for python in (folder / name for name in names):
        if python.exists():
            return shell.command(str(python), "-m", "pip", "install", "mmsent")
    return f"{shell.unset(variable)}  # that environment no longer has a Python"

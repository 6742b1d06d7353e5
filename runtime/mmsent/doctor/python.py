"""Python: which one runs, and whether it belongs to the active environment."""

import os
import platform
import shlex
import sys
from pathlib import Path

from mmsent.doctor.finding import Group, variables

_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
_PYTHON = ("CONDA_DEFAULT_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE")
_PROGRAMS = "Scripts" if os.name == "nt" else "bin"


def check_python() -> Group:
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
    variable, folder = min(active, key=_position_on_path, default=("", sys.prefix))
    if os.path.realpath(folder) != os.path.realpath(sys.prefix):
        # `conda run` and a stale PATH cause this.
        what = f"{variable} names the environment {folder}, but {sys.executable} runs"
        why = "what is installed in one of the two is missing in the other"
        fix = _use_environment(variable, Path(folder, _PROGRAMS))
        group.warning("python-not-the-active-environment", what, why, fix)
    return group


def _environment() -> str:
    if sys.prefix != sys.base_prefix:
        return f"the virtual environment {sys.prefix}"
    if Path(sys.prefix, "conda-meta").is_dir():
        return f"the conda environment {sys.prefix}"
    return f"no environment: {sys.executable}"


def _position_on_path(active: tuple[str, str]) -> int:
    places = os.environ.get("PATH", "").split(os.pathsep)
    programs = str(Path(active[1], _PROGRAMS))
    return places.index(programs) if programs in places else len(places)


def _use_environment(variable: str, programs: Path) -> str:
    if (programs / "mmsent").exists():
        return f"{shlex.quote(str(programs / 'mmsent'))} doctor  # that environment's own mmsent"
    if programs.is_dir():
        return f"{shlex.quote(str(programs / 'python'))} -m pip install mmsent"
    return f"unset {variable}  # that environment no longer exists"

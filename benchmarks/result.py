"""The format of results: figures with the command, commit, day, processor and versions."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mmsent
from mmsent.files.atomic import atomic_path
from mmsent.files.machine import available_cores

RESULTS = Path(__file__).parent / "results"
CODE = (":/runtime", ":/training", ":/export", ":/benchmarks/*.py", ":!/benchmarks/figures.py")
PACKAGES = ("torch", "transformers", "onnxruntime", "numpy", "pillow", "tokenizers")
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bf16",
    "amx_tile": "AMX",
}
"""Those that decide the speed of matrix products, by their flags in /proc/cpuinfo."""


def write_result(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write ``figures`` and their origin to ``path``; None: do nothing."""
    if path is None:
        return
    content = {
        "command": command(sys.argv),
        "commit": commit(),
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def command(arguments: list[str]) -> str:
    """The running command, without the folders of absolute paths and without --json.

    It includes the number of threads if the environment sets it.
    """
    words = ["python", f"benchmarks/{Path(arguments[0]).name}", *arguments[1:]]
    if "--json" in words:
        place = words.index("--json")
        del words[place : place + 2]
    if threads := os.environ.get("OMP_NUM_THREADS"):
        words.insert(0, f"OMP_NUM_THREADS={threads}")
    return " ".join(re.sub(r"(^|=)/(?:[^/]+/)*([^/]+)$", r"\1\2", word) for word in words)


def commit() -> str | None:
    """The last commit that changed the code or the benchmarks, of the measured mmsent.

    It ends in "-dirty" if there are uncommitted changes; None without git.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", Path(mmsent.__file__).parent, *arguments, "--", *CODE]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode else done.stdout.strip()

    last = git("log", "-1", "--format=%h")
    return f"{last}-dirty" if last and git("status", "--porcelain") else last


def machine() -> dict[str, Any]:
    """The processor, its instruction sets and the cores that this process may use."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    name = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", info, re.MULTILINE)
    known = flags[1].split() if flags else ()
    return {
        "processor": name[1] if name else platform.processor() or platform.machine(),
        "instructions": [text for flag, text in INSTRUCTIONS.items() if flag in known],
        "cores": available_cores(),
    }


def versions() -> dict[str, str]:
    """The versions of Python and of relevant packages."""
    found = {"python": platform.python_version(), "mmsent": mmsent.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

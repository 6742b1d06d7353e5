"""The shared libraries that are loaded into this process."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_OPENMP = re.compile(r"(libiomp5|libomp|libgomp)[^/]*\.(so|dylib)[^/]*")


def openmp_runtimes() -> list[str]:
    """The files of the OpenMP runtimes; none on a system that can't say what is loaded."""
    return sorted(path for path in _loaded_files() if _OPENMP.fullmatch(Path(path).name))


def _loaded_files() -> set[str]:
    if sys.platform == "linux":
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        # address perms offset device inode path
        fields = (line.split(maxsplit=5) for line in lines)
        return {parts[5] for parts in fields if len(parts) == 6}
    if sys.platform == "darwin":
        system = ctypes.CDLL(None)
        system._dyld_get_image_name.restype = ctypes.c_char_p
        names = (system._dyld_get_image_name(i) for i in range(system._dyld_image_count()))
        return {name.decode() for name in names}
    return set()

"""The libraries of the installed parts, imported into one process, as the work does it."""

from __future__ import annotations

import importlib

from mmsent.doctor.child import Tell
from mmsent.doctor.probes.loaded import openmp_runtimes

# What is used of a library that imports the rest of itself only when asked.
_LAZY = {"transformers": "CLIPModel"}


def probe(tell: Tell, *modules: str) -> None:
    """Import ``modules`` in this order; after each, tell the OpenMP runtimes that it brought."""
    errors: dict[str, str] = {}
    runtimes: dict[str, str] = {}
    for name in modules:
        tell(doing=f"importing {name}", module=name)
        try:
            module = importlib.import_module(name)
            if name in _LAZY:
                getattr(module, _LAZY[name])
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
            tell(errors=errors)
        for path in openmp_runtimes():
            runtimes.setdefault(path, name)
        tell(openmp=runtimes)

"""CLIP's weights: whether they are in the cache, whole, and where they would come from."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from mmsent.clip_pin import REPOSITORY, REVISION, WEIGHTS, WEIGHTS_SIZE
from mmsent.doctor.child import Told
from mmsent.doctor.finding import Finding, Group, failure, not_applicable, ok, warning

_HEADER_LIMIT = 100_000_000  # bytes; safetensors refuses a longer one

_FACTS = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
)
_TRUE = ("1", "true", "on", "yes")


def cache_folder() -> Path:
    """The hub's cache, where huggingface_hub looks for it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(name):
            return _expanded(value)
    if home := os.environ.get("HF_HOME"):
        return _expanded(home) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def endpoint() -> str:
    """The hub's address, without a password that it may carry."""
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return re.sub(r"//[^/@]*@", "//", address).rstrip("/")


def weights_address() -> str:
    """Where a file of the pinned revision is on the hub."""
    address = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    return f"{address}/{REPOSITORY}/resolve/{REVISION}/config.json"


def offline() -> bool:
    """Whether the environment forbids the hub."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").lower() in _TRUE for name in names)


def examine_clip(installed: bool, hub: Told | None) -> Group:
    """Look for the weights; ``hub`` is what the hub answered if it was asked."""
    facts = {
        "cache": str(cache_folder()),
        "environment": {name: os.environ[name] for name in _FACTS if name in os.environ},
    }
    if not installed:
        nothing = "training is not installed, and nothing else needs them"
        return Group("CLIP", [not_applicable("clip-not-needed", nothing)], facts)
    findings = [_weights(cache_folder())]
    if offline() or os.environ.get("HF_ENDPOINT"):
        how = "is not asked: HF_HUB_OFFLINE is set" if offline() else "is the one of HF_ENDPOINT"
        findings.append(ok("hub-settings", f"the hub {endpoint()} {how}"))
    if hub is not None:
        facts["hub"] = json.dumps(hub.facts)
        findings.append(_hub(hub))
    return Group("CLIP", findings, facts)


def _weights(cache: Path) -> Finding:
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    file = folder / "snapshots" / REVISION / WEIGHTS
    again = f"rm {shlex.quote(str(file))}; mmsent download-clip"
    if file.is_symlink():  # into blobs/: the name of the file's content
        again = f"rm {shlex.quote(os.path.realpath(file))} {again.removeprefix('rm ')}"
    if not os.path.lexists(file):
        return _missing(folder, cache)
    size = file.stat().st_size if file.exists() else 0
    if size < WEIGHTS_SIZE:
        return failure(
            "clip-weights-truncated",
            f"CLIP's weights are cut off: {size:,} of {WEIGHTS_SIZE:,} bytes in {file}",
            why="a download was interrupted or the disk was full; training CLIP would fail",
            mend=again,
            stops=["train CLIP"],
        )
    if fault := _fault(file, size):
        return failure(
            "clip-weights-damaged",
            f"CLIP's weights are not the pinned ones: {file}",
            why=f"{fault}; training CLIP would fail",
            mend=again,
            stops=["train CLIP"],
        )
    return ok("clip-weights", f"CLIP's weights are whole, revision {REVISION[:12]}, in {cache}")


def _missing(folder: Path, cache: Path) -> Finding:
    others = [path.name for path in (folder / "snapshots").glob("*") if path.name != REVISION]
    part = max((p.stat().st_size for p in (folder / "blobs").glob("*.incomplete")), default=0)
    notes = [f"only the revision {others[0][:12]} is there"] if others else []
    notes += [f"{part:,} bytes of an interrupted download are there"] if part else []
    notes += ["training takes another model"]
    return warning(
        "clip-weights-missing",
        f"CLIP's weights are not in {cache}",
        why="; ".join(notes),
        mend=f"{'unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE; ' if offline() else ''}"
        "mmsent download-clip  # without a network: on another machine, then copy its cache here",
    )


def _fault(file: Path, size: int) -> str:
    """What is wrong with a safetensors file of ``size`` bytes, as far as its header tells; or "".

    Its layout: the header's length in 8 bytes, the header, then the tensors without a gap.
    """
    if size != WEIGHTS_SIZE:
        return f"{size:,} bytes instead of {WEIGHTS_SIZE:,}"
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(min(length, _HEADER_LIMIT)))
        header.pop("__metadata__", None)
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return "its header can't be read"
    if 8 + length + max(ends, default=0) != size:
        return "its header speaks of another size"
    return ""


def _hub(hub: Told) -> Finding:
    status = hub.facts.get("status")
    if status is not None and status < 400:
        return ok("hub-answers", f"the hub {endpoint()} answers and has the weights")
    if status is not None:
        return warning(
            "hub-refuses",
            f"the hub {endpoint()} answers with status {status} for the weights",
            why="CLIP's weights can't be downloaded from there",
            mend="unset HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else "try again later",
        )
    return warning(
        "hub-unreachable",
        f"the hub {endpoint()} does not answer",
        why=hub.facts.get("error") or hub.reason or "no answer within the time limit",
        mend="export HF_ENDPOINT=ADDRESS for a mirror, or https_proxy=ADDRESS for a proxy; or run "
        "`mmsent download-clip` where there is a network, and copy its folder here",
    )

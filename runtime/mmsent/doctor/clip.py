"""CLIP's weights: whether they are in the cache and undamaged, and which hub has them."""

import json
import os
import re
from pathlib import Path
from typing import Any

from mmsent.clip_pin import REPOSITORY, REVISION, WEIGHTS, WEIGHTS_SIZE
from mmsent.doctor.finding import Group, variables
from mmsent.doctor.process import ProbeResult
from mmsent.doctor.shell import Shell

_HEADER_LIMIT = 100_000_000  # bytes; safetensors refuses a longer one

_MIRROR = "https://hf-mirror.com"  # an example

_CACHE = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def cache_folder() -> Path:
    """The cache folder of huggingface_hub."""
    hub, old_hub, home, cache = (os.environ.get(name) for name in _CACHE)
    folder = hub or old_hub or os.path.join(home or f"{cache or '~/.cache'}/huggingface", "hub")
    return Path(os.path.expandvars(folder)).expanduser()


def weights_address() -> str:
    """The address of a file of the pinned revision on the hub."""
    return f"{_endpoint()}/{REPOSITORY}/resolve/{REVISION}/config.json"


def _endpoint() -> str:
    """The hub's address; it may contain a password."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _offline() -> bool:
    values = variables(*_OFFLINE).values()
    return any(value.lower() in ("1", "true", "on", "yes") for value in values)


def check_clip(installed: bool, hub: ProbeResult | None, shell: Shell) -> Group:
    """Check the weights; ``hub`` is the probe of the hub, if it ran."""
    group = Group("CLIP", stops=("train CLIP",))
    group.facts["cache"] = str(cache_folder())
    group.facts["environment"] = variables(*_CACHE, "HF_ENDPOINT", *_OFFLINE)
    if not installed:
        group.not_applicable(
            "clip-not-needed", "training is not installed, and only training needs CLIP"
        )
        return group
    _check_weights(group, cache_folder(), shell)
    name = f"the hub {re.sub(r'//[^/@]*@', '//', _endpoint())}"
    if _offline():
        group.ok("hub-settings", f"{name} is not used: HF_HUB_OFFLINE is set")
    elif os.environ.get("HF_ENDPOINT"):
        group.ok("hub-settings", f"{name} is set by HF_ENDPOINT")
    if hub is not None:
        group.facts["hub"] = json.dumps(hub.facts)
        _check_hub(group, name, hub, shell)
    return group


def _check_weights(group: Group, cache: Path, shell: Shell) -> None:
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    file = folder / "snapshots" / REVISION / WEIGHTS
    content = [os.path.realpath(file)] if file.is_symlink() else []  # in blobs/
    fix = f"{shell.remove(*content, str(file))}; mmsent download-clip"
    size = file.stat().st_size if file.exists() else 0
    if not os.path.lexists(file):
        _report_missing(group, folder, cache, shell)
    elif size < WEIGHTS_SIZE:
        what = f"CLIP's weights are incomplete: {size:,} of {WEIGHTS_SIZE:,} bytes in {file}"
        why = "a download was interrupted or the disk was full; training CLIP would fail"
        group.failure("clip-weights-truncated", what, why, fix)
    elif fault := _fault(file, size):
        what = f"CLIP's weights are not the pinned ones: {file}"
        group.failure("clip-weights-damaged", what, f"{fault}; training CLIP would fail", fix)
    else:
        group.ok(
            "clip-weights", f"CLIP's weights are complete, revision {REVISION[:12]}, in {cache}"
        )


def _report_missing(group: Group, folder: Path, cache: Path, shell: Shell) -> None:
    others = [path.name for path in (folder / "snapshots").glob("*") if path.name != REVISION]
    part = max((p.stat().st_size for p in (folder / "blobs").glob("*.incomplete")), default=0)
    notes = [f"only the revision {others[0][:12]} is in the cache"] if others else []
    notes += [f"an interrupted download has {part:,} bytes"] if part else []
    why = "; ".join([*notes, "training uses another model"])
    fix = [
        "mmsent download-clip",
        f"# if the hub is blocked: with HF_ENDPOINT={_MIRROR} or another mirror",
        f"# without a network: on another machine, then copy its {folder.name} into {cache}",
    ]
    if _offline():
        fix[0] = f"{shell.unset(*variables(*_OFFLINE))}; {fix[0]}"
    what = f"CLIP's weights are not in {cache}"
    group.warning("clip-weights-missing", what, why, "\n".join(fix))


def _fault(file: Path, size: int) -> str:
    """What is wrong with a safetensors file of ``size`` bytes, by its header; or "".

    The layout: the header's length in 8 bytes, the header, then the tensors without gaps.
    """
    if size != WEIGHTS_SIZE:
        return f"{size:,} bytes instead of {WEIGHTS_SIZE:,}"
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(min(length, _HEADER_LIMIT)))
        header.pop("__metadata__", None)
        end = max(tensor["data_offsets"][1] for tensor in header.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return "its header can't be read"
    return "" if 8 + length + end == size else "its header describes a file of another size"


def _check_hub(group: Group, name: str, hub: ProbeResult, shell: Shell) -> None:
    status = hub.facts.get("status")
    if status is None:
        why = hub.facts.get("error") or ("no answer in time" if hub.hung else hub.reason)
        fix = f"{shell.set('HF_ENDPOINT', _MIRROR)}  # or another mirror, or https_proxy=ADDRESS\n"
        fix += "# or run `mmsent download-clip --to DIR` on another machine, and copy DIR here"
        group.warning("hub-unreachable", f"{name} does not answer", why, fix)
    elif status < 400:
        group.ok("hub-answers", f"{name} answers and has the weights")
    else:
        what = f"{name} answers with status {status} for the weights"
        fix = shell.unset("HF_ENDPOINT") if os.environ.get("HF_ENDPOINT") else "try again later"
        group.warning("hub-refuses", what, "CLIP's weights can't be downloaded from there", fix)

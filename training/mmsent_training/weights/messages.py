"""Error messages about checkpoints: what happened and why, then one line per fix."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmsent_training.weights.kind import Kind

MIRROR = "https://hf-mirror.com"
COPY_AGAIN = (
    "copy it again, or run the `mmsent download-clip --to` that made the folder\n"
    "Or delete SHA256SUMS there, if you changed the file on purpose"
)


def no_such(name: str, kind: Kind) -> str:
    example = f", such as {kind.default}" if kind.default else ""
    return f"{name} is neither a folder here nor a name on the hub{example}"


def not_cached(name: str, cache: str, missing: list[str] | None) -> str:
    """The beginning of a first line; ``missing``: the files that the cached snapshot lacks."""
    what = f"{', '.join(missing)} of {name}" if missing else name
    return f"{what} is not in the cache {cache}"


def other_model(name: str, found: object, trained: Sequence[str]) -> str:
    what = f"a {found} checkpoint" if found else "a checkpoint whose config.json has no model_type"
    return f"{name} is {what}; mmsent trains {', '.join(trained)}"


def not_fetched(name: str, absence: str, why: str, folder: Path, kind: Kind) -> str:
    """For a hub that does not help; ``absence`` and ``why`` form the first line.

    ``folder``: the folder of this checkpoint in the cache.
    """
    return (
        f"{absence}, and {why}\n"
        f"Run {kind.download_command(name, 'DIR')} on a machine with a network, copy DIR here and "
        f"use {kind.flag} DIR\n"
        f"Or copy that machine's folder of the cache to {folder}\n"
        f"Or set the environment variable HF_ENDPOINT to a mirror, such as {MIRROR}\n"
        f"Or {kind.instead}"
    )


def not_whole(url: str, damage: str) -> str:
    return f"{url} returns a damaged file: {damage}"


def no_file(name: str, file: str, hub: str, kind: Kind) -> str:
    pickle = ", and a pickle is never loaded" if file.endswith(".safetensors") else ""
    other = f"Use {kind.flag} {kind.default}" if kind.default else f"Name another {kind.flag}"
    return f"{hub} has no {file} of {name}{pickle}\n{other}, or {kind.instead}"


def interrupted(name: str, cache: str, why: str, kind: Kind) -> str:
    again = kind.download_command(name)
    return f"the download of {name} to {cache} stopped: {why}\nRun {again} again"


def incomplete(folder: Path, missing: list[str], kind: Kind) -> str:
    pickles = [path.name for path in sorted([*folder.glob("*.bin"), *folder.glob("*.pth")])]
    pickle = f", and {pickles[0]} is a pickle, which is never loaded" if pickles else ""
    return (
        f"{folder} is not a complete checkpoint for {kind.flag}: it lacks {', '.join(missing)}"
        f"{pickle}\n"
        f"To make a complete folder, run {kind.download_command(kind.default or 'NAME', 'DIR')}"
    )


def damaged(path: Path, damage: str, fix: str) -> str:
    # In the hub's cache, this is the target of a link; without it, the link counts as missing.
    delete = f"Delete it (rm {shlex.quote(str(path.resolve()))})"
    return f"{path} is damaged: {damage}\n{delete}, then {fix}"

"""Error messages about checkpoints: what happened and why, then one line per fix."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmsent.clip_pin import REPOSITORY

CLIP = "clip"
WITHOUT_CLIP = "train without CLIP: --model compact or --model light"
MIRROR = "https://hf-mirror.com"
COPY_AGAIN = (
    "copy it again, or run the `mmsent download-clip --to` that made the folder\n"
    "Or delete SHA256SUMS there, if you changed the file on purpose"
)


def download_command(name: str, to: Path | str | None = None, *, option: str = CLIP) -> str:
    """The command that downloads the checkpoint ``name``, for the option ``option``."""
    if option != CLIP:
        folder = ["--local-dir", str(to)] if to is not None else []
        return f"`{shlex.join(['hf', 'download', name, *folder])}`"
    clip = ["--clip", name] if name != REPOSITORY else []
    folder = ["--to", str(to)] if to is not None else []
    return f"`{shlex.join(['mmsent', 'download-clip', *clip, *folder])}`"


def _without(option: str) -> str:
    return WITHOUT_CLIP if option == CLIP else "train with weights that are here: --model compact"


def no_such(name: str, option: str) -> str:
    example = f", such as {REPOSITORY}" if option == CLIP else ""
    return f"{name} is neither a folder here nor a name on the hub{example}"


def not_cached(name: str, cache: str, missing: list[str] | None) -> str:
    """The beginning of a first line; ``missing``: the files that the cached snapshot lacks."""
    what = f"{', '.join(missing)} of {name}" if missing else name
    return f"{what} is not in the cache {cache}"


def other_model(name: str, found: object, trained: Sequence[str]) -> str:
    what = f"a {found} checkpoint" if found else "a checkpoint whose config.json has no model_type"
    return f"{name} is {what}; mmsent trains {', '.join(trained)}"


def not_fetched(name: str, absence: str, why: str, folder: Path, option: str) -> str:
    """For a hub that does not help; ``absence`` and ``why`` form the first line.

    ``folder``: the folder of this checkpoint in the cache.
    """
    return (
        f"{absence}, and {why}\n"
        f"Run {download_command(name, 'DIR', option=option)} on a machine with a network, copy DIR "
        f"here and use {flag(option)} DIR\n"
        f"Or copy that machine's folder of the cache to {folder}\n"
        f"Or set the environment variable HF_ENDPOINT to a mirror, such as {MIRROR}\n"
        f"Or {_without(option)}"
    )


def not_whole(url: str, damage: str) -> str:
    return f"{url} returns a damaged file: {damage}"


def no_file(name: str, file: str, hub: str, option: str) -> str:
    pickle = ", and a pickle is never loaded" if file.endswith(".safetensors") else ""
    other = f"Use --clip {REPOSITORY}" if option == CLIP else f"Name another {flag(option)}"
    return f"{hub} has no {file} of {name}{pickle}\n{other}, or {_without(option)}"


def interrupted(name: str, cache: str, why: str, option: str) -> str:
    again = download_command(name, option=option)
    return f"the download of {name} to {cache} stopped: {why}\nRun {again} again"


def flag(option: str) -> str:
    """The option as a command line has it."""
    return f"--{option.replace('_', '-')}"


def incomplete(folder: Path, missing: list[str], option: str) -> str:
    pickles = [path.name for path in sorted([*folder.glob("*.bin"), *folder.glob("*.pth")])]
    pickle = f", and {pickles[0]} is a pickle, which is never loaded" if pickles else ""
    lacks = f"it lacks {', '.join(missing)}{pickle}"
    if option != CLIP:
        return (
            f"{folder} is not a complete checkpoint for {flag(option)}: {lacks}\n"
            f"To make a complete folder, run {download_command('NAME', 'DIR', option=option)}"
        )
    return (
        f"{folder} is not a complete CLIP checkpoint: {lacks}\n"
        f"To make a complete folder, run {download_command(REPOSITORY, 'DIR')}"
    )


def damaged(path: Path, damage: str, fix: str) -> str:
    # In the hub's cache, this is the target of a link; without it, the link counts as missing.
    delete = f"Delete it (rm {shlex.quote(str(path.resolve()))})"
    return f"{path} is damaged: {damage}\n{delete}, then {fix}"

"""Error messages about CLIP's weights: what happened and why, then one line per fix."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmsent.clip_pin import REPOSITORY

WITHOUT_CLIP = "train without CLIP: --model compact or --model light"
MIRROR = "https://hf-mirror.com"
COPY_AGAIN = (
    "copy it again, or run the `mmsent download-clip --to` that made the folder\n"
    "Or delete SHA256SUMS there, if you changed the file on purpose"
)


def download_command(name: str, to: Path | str | None = None) -> str:
    """The command that downloads the checkpoint ``name``."""
    clip = ["--clip", name] if name != REPOSITORY else []
    folder = ["--to", str(to)] if to is not None else []
    return f"`{shlex.join(['mmsent', 'download-clip', *clip, *folder])}`"


def no_such(name: str) -> str:
    return f"{name} is neither a folder here nor a name on the hub, such as {REPOSITORY}"


def not_cached(name: str, cache: str, missing: list[str] | None) -> str:
    """The beginning of a first line; ``missing``: the files that the cached snapshot lacks."""
    what = f"{', '.join(missing)} of {name}" if missing else name
    return f"{what} is not in the cache {cache}"


def other_model(name: str, found: object, trained: Sequence[str]) -> str:
    what = f"a {found} checkpoint" if found else "a checkpoint whose config.json has no model_type"
    return f"{name} is {what}; mmsent trains {', '.join(trained)}"


def not_fetched(name: str, absence: str, why: str, folder: Path) -> str:
    """For a hub that does not help; ``absence`` and ``why`` form the first line.

    ``folder``: the folder of this checkpoint in the cache.
    """
    return (
        f"{absence}, and {why}\n"
        f"Run {download_command(name, 'DIR')} on a machine with a network, copy DIR here and "
        "use --clip DIR\n"
        f"Or copy that machine's folder of the cache to {folder}\n"
        f"Or set the environment variable HF_ENDPOINT to a mirror, such as {MIRROR}\n"
        f"Or {WITHOUT_CLIP}"
    )


def not_whole(url: str, damage: str) -> str:
    return f"{url} returns a damaged file: {damage}"


def no_file(name: str, file: str, hub: str) -> str:
    pickle = ", and a pickle is never loaded" if file.endswith(".safetensors") else ""
    return f"{hub} has no {file} of {name}{pickle}\nUse --clip {REPOSITORY}, or {WITHOUT_CLIP}"


def interrupted(name: str, cache: str, why: str) -> str:
    return f"the download of {name} to {cache} stopped: {why}\nRun {download_command(name)} again"


def incomplete(folder: Path, missing: list[str]) -> str:
    pickles = [path.name for path in sorted(folder.glob("*.bin"))]
    pickle = f", and {pickles[0]} is a pickle, which is never loaded" if pickles else ""
    return (
        f"{folder} is not a complete CLIP checkpoint: it lacks {', '.join(missing)}{pickle}\n"
        f"To make a complete folder, run {download_command(REPOSITORY, 'DIR')}"
    )


def damaged(path: Path, damage: str, fix: str) -> str:
    # In the hub's cache, this is the target of a link; without it, the link counts as missing.
    delete = f"Delete it (rm {shlex.quote(str(path.resolve()))})"
    return f"{path} is damaged: {damage}\n{delete}, then {fix}"

"""CLIP's weights: found in a folder or in the hub's cache, or fetched; verified before use.

A damaged file is named and never used, nor fetched over. huggingface_hub fetches: before its
version 1.31 it resumes an interrupted file that comes over HTTP; later, and over hf_xet (which
HF_HUB_DISABLE_XET=1 turns off), it begins that file again.
"""

import json
import logging
import shutil
from pathlib import Path
from threading import Thread

from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from mmsent import clip_pin
from mmsent.errors import InputError, MmsentError
from mmsent.files.atomic import atomic_path
from mmsent_training.weights import checkpoint, messages
from mmsent_training.weights.checkpoint import ClipCheckpoint, WeightsUnavailable

log = logging.getLogger(__name__)

DEFAULT_CLIP = clip_pin.REPOSITORY

PROBE_SECONDS = 10
"""How long the hub may take to say what it has: under 15 seconds together with all the rest."""


def find_clip(name: str = DEFAULT_CLIP, *, fetch: bool = True) -> ClipCheckpoint:
    """The checkpoint in the folder ``name``, or the hub's of that name: from its cache, or fetched.

    Raises WeightsUnavailable where it can't be had or is damaged, and InputError where ``name``
    can be neither. Without a network that takes less than 15 seconds.
    """
    return _find(name, fetch)[0]


def download(name: str, to: Path | None) -> tuple[ClipCheckpoint, bool]:
    """Fetch the hub's checkpoint ``name`` into its cache, and copy it to the folder ``to``, if any.

    Also says whether that was needed. The folder can be taken to another machine. Raises what
    find_clip raises, and InputError where ``to`` holds something else.
    """
    if to is None:
        whole = Path(name).expanduser().is_dir() or _cached(name)[1] == []
        return find_clip(name), not whole
    sums = to / checkpoint.CHECKSUMS
    other = f"{to} holds something other than {name}; name a new or an empty folder"
    if to.is_file() or (to.is_dir() and any(to.iterdir()) and not sums.is_file()):
        raise InputError(other)
    source, digests = _find(name)
    if sums.is_file() and checkpoint.known_checksums(to) != digests:
        raise InputError(other)
    lacking = [file for file in digests if not (to / file).exists()]
    if lacking:
        to.mkdir(parents=True, exist_ok=True)
        with atomic_path(sums) as part:
            part.write_text("".join(f"{digests[file]}  {file}\n" for file in digests))
        for file in lacking:
            with atomic_path(to / file) as part:
                shutil.copyfile(source.folder / file, part)
    return checkpoint.verify(to, name)[0], bool(lacking)


def _find(name: str, fetch: bool = True) -> tuple[ClipCheckpoint, dict[str, str]]:
    """The checkpoint, and the SHA-256 of its files."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return checkpoint.verify(folder, name)
    snapshot, missing = _cached(name)
    if snapshot is None or missing:
        absence = messages.not_cached(name, constants.HF_HUB_CACHE, missing)
        if not fetch:
            raise WeightsUnavailable(f"{absence}\nRun {messages.download_command(name)}")
        snapshot = _fetch(name, absence)
    fix = f"run {messages.download_command(name)}"
    return checkpoint.verify(snapshot, name, snapshot.name, fix)


def _cached(name: str) -> tuple[Path | None, list[str] | None]:
    """The hub's snapshot of ``name`` in its cache and what it lacks; None where there is none.

    Raises InputError where ``name`` can't be a name on the hub.
    """
    try:
        config = try_to_load_from_cache(name, checkpoint.CONFIG, revision=_revision(name))
    except HFValidationError:
        raise InputError(messages.no_such(name)) from None
    if not isinstance(config, str):
        return None, None
    return Path(config).parent, checkpoint.missing_files(Path(config).parent)


def _revision(name: str) -> str:
    return clip_pin.REVISION if name == DEFAULT_CLIP else constants.DEFAULT_REVISION


def _fetch(name: str, absence: str) -> Path:
    """Fetch what the cache lacks of ``name``; the whole snapshot.

    ``absence`` says that it is not there. Raises WeightsUnavailable with the reason.
    """
    info = _ask_hub(name)
    if isinstance(info, Exception):
        why = _why(name, info, f"{constants.ENDPOINT} can't be reached: ")
        raise WeightsUnavailable(messages.not_fetched(name, absence, why))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    sharded = checkpoint.INDEX in sizes and checkpoint.WEIGHTS not in sizes
    weights = checkpoint.INDEX if sharded else checkpoint.WEIGHTS
    for file in (*checkpoint.DESCRIPTIONS, weights):
        if file not in sizes:
            raise WeightsUnavailable(messages.no_file(name, file, constants.ENDPOINT))
    try:
        # Asked for by the branch, so that the cache knows which commit that is.
        config = hf_hub_download(name, checkpoint.CONFIG, revision=_revision(name))
        snapshot = Path(config).parent
        if sharded:
            hf_hub_download(name, weights, revision=info.sha)  # names the others
        missing = checkpoint.missing_files(snapshot)
        size = sum(sizes.get(file, 0) for file in missing) / 1e6
        log.info("fetching %s, %.0f MB, from %s to %s", name, size, constants.ENDPOINT, snapshot)
        for file in missing:
            hf_hub_download(name, file, revision=info.sha)
    except MmsentError:
        raise
    except Exception as error:
        why = _why(name, error)
        raise WeightsUnavailable(messages.interrupted(name, constants.HF_HUB_CACHE, why)) from None
    return snapshot


def _ask_hub(name: str) -> ModelInfo | Exception:
    """What the hub has of ``name``: the commit and its files; an error if it does not answer.

    A time limit of the socket would not do: looking up a host's name is not subject to it.
    """
    if constants.HF_HUB_OFFLINE:
        return ConnectionError("HF_HUB_OFFLINE is set (unset it to fetch)")
    answers: list[ModelInfo | Exception] = []

    def ask() -> None:
        try:
            answers.append(HfApi().model_info(name, revision=_revision(name), files_metadata=True))
        except Exception as error:
            answers.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answers[0] if answers else TimeoutError(f"no answer within {PROBE_SECONDS} seconds")


def _why(name: str, error: BaseException, otherwise: str = "") -> str:
    """What the hub answered, else ``otherwise`` and an error's innermost reason, in a line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        return f"{constants.ENDPOINT} has no {name}, or only for those who ran `hf auth login`"
    if status is not None:
        return f"{constants.ENDPOINT} answers with the HTTP status {status}"
    if isinstance(error, json.JSONDecodeError):
        return f"{constants.ENDPOINT} does not answer as a hub does, but as a login page or a proxy"
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return otherwise + str(reason).split("\n")[0]

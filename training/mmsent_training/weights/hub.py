"""CLIP's weights and other encoders', from a folder, the hub's cache or the hub; verified.

A damaged file is reported, never used, and never overwritten. huggingface_hub downloads the files.
Its versions before 1.31 resume an interrupted HTTP download; later versions, and hf_xet (which
HF_HUB_DISABLE_XET=1 disables), start the file again. If a mirror does not answer as
huggingface_hub requires, the files are downloaded without it.
"""

import json
import logging
import re
import shutil
from pathlib import Path
from threading import Thread

from huggingface_hub import (
    HfApi,
    ModelInfo,
    constants,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from mmsent import clip_pin
from mmsent.errors import InputError, MmsentError
from mmsent.files.atomic import atomic_path
from mmsent_training.weights import checkpoint, messages
from mmsent_training.weights.checkpoint import CLIP, Checkpoint, WeightsUnavailable
from mmsent_training.weights.kind import Kind
from mmsent_training.weights.mirror import fetch_file

log = logging.getLogger(__name__)

DEFAULT_CLIP = clip_pin.REPOSITORY

PROBE_SECONDS = 10
"""Time limit of the hub's listing; everything together then takes less than 15 seconds."""


def find_clip(name: str = DEFAULT_CLIP, *, fetch: bool = True) -> Checkpoint:
    """The checkpoint in the folder ``name``, or of that name on the hub: cached or downloaded.

    Raises WeightsUnavailable if it is unavailable or damaged, and InputError if ``name`` is neither
    a folder nor a name on the hub. Without a network, this takes less than 15 seconds.
    """
    return find_checkpoint(name, CLIP, fetch=fetch)


def find_checkpoint(name: str, kind: Kind, *, fetch: bool = True) -> Checkpoint:
    """As find_clip, for checkpoints of any ``kind``."""
    return _find(name, kind, fetch)[0]


def download(name: str, to: Path | None) -> tuple[Checkpoint, bool]:
    """Download the checkpoint ``name`` to the cache, and copy it to the folder ``to``, if any.

    Also returns whether anything was done. The folder can be copied to another machine. Raises the
    same errors as find_clip, and InputError if ``to`` contains something else.
    """
    if to is None:
        whole = Path(name).expanduser().is_dir() or _cached(name, CLIP)[1] == []
        return find_clip(name), not whole
    sums = to / checkpoint.CHECKSUMS
    other = f"{to} contains something other than {name}; choose a new or empty folder"
    if to.is_file() or (to.is_dir() and any(to.iterdir()) and not sums.is_file()):
        raise InputError(other)
    source, digests = _find(name, CLIP)
    if sums.is_file() and checkpoint.known_checksums(to) != digests:
        raise InputError(other)
    lacking = [file for file in digests if not (to / file).exists()]
    if lacking:
        to.mkdir(parents=True, exist_ok=True)
        checkpoint.write_checksums(to, digests)
        for file in lacking:
            with atomic_path(to / file) as part:
                shutil.copyfile(source.folder / file, part)
    return checkpoint.verify(to, name, CLIP)[0], bool(lacking)


def _find(name: str, kind: Kind, fetch: bool = True) -> tuple[Checkpoint, dict[str, str]]:
    """The checkpoint, and the SHA-256 of its files."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return checkpoint.verify(folder, name, kind)
    snapshot, missing = _cached(name, kind)
    fetched = snapshot is None or bool(missing)
    if snapshot is None or missing:
        absence = messages.not_cached(name, constants.HF_HUB_CACHE, missing)
        if not fetch:
            raise WeightsUnavailable(f"{absence}\nRun {kind.download_command(name)}")
        snapshot = _fetch(name, absence, kind)
    fix = f"run {kind.download_command(name)}"
    revision = _revision(name, snapshot.name)
    commit = revision if _is_commit(revision) else None
    found, digests = checkpoint.verify(snapshot, name, kind, commit, fix)
    if fetched and not checkpoint.known_checksums(snapshot):  # no links with checksums
        checkpoint.write_checksums(snapshot, digests)
    return found, digests


def _cached(name: str, kind: Kind) -> tuple[Path | None, list[str] | None]:
    """The hub's snapshot of ``name`` in its cache and what it lacks, or None if there is none.

    Raises InputError if ``name`` can't be a name on the hub.
    """
    try:
        config = try_to_load_from_cache(name, checkpoint.CONFIG, revision=_revision(name))
    except HFValidationError:
        raise InputError(messages.no_such(name, kind)) from None
    if not isinstance(config, str):
        return None, None
    return Path(config).parent, checkpoint.missing_files(Path(config).parent, name, kind)


def _cache_folder(name: str) -> Path:
    """The folder of ``name`` in the hub's cache."""
    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _revision(name: str, commit: str | None = None) -> str:
    """The pinned commit of the default checkpoint; otherwise ``commit``, or the default branch."""
    if name == DEFAULT_CLIP:
        return clip_pin.REVISION
    return commit if commit and _is_commit(commit) else constants.DEFAULT_REVISION


def _is_commit(revision: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


class _Source:
    """A checkpoint on the hub or a mirror: ``get`` downloads a file to the cache.

    ``info``: the list of its files; a mirror may have none. If the mirror does not answer as
    huggingface_hub requires, the files are downloaded without it, to the same folder of the cache,
    in the layout that huggingface_hub uses on a system without links.
    """

    def __init__(self, name: str, info: ModelInfo | None) -> None:
        self.name, self.plain = name, False
        self.revision = _revision(name, info.sha if info else None)
        self.listed = {file.rfilename: file for file in info.siblings or ()} if info else None
        self.cache = _cache_folder(name)
        self.snapshot = self.cache / "snapshots" / self.revision

    def get(self, file: str) -> bool:
        """Download ``file`` unless it is cached; False if the hub does not have it."""
        if (self.snapshot / file).is_file():
            return True
        if self.listed is not None and file not in self.listed:
            return False
        if self.plain:
            return self._get_plainly(file)
        # Request the first file by branch, so that the cache records its commit.
        first = file == checkpoint.CONFIG
        try:
            revision = _revision(self.name) if first else self.revision
            self.snapshot = Path(hf_hub_download(self.name, file, revision=revision)).parent
            self.revision = self.snapshot.name
            return True
        except (LocalEntryNotFoundError, FileMetadataError) as error:
            log.info(
                "%s does not answer like a hub: %s", constants.ENDPOINT, _why(self.name, error)
            )
            self.plain = True
            return self._get_plainly(file)
        except EntryNotFoundError:
            return False

    def _get_plainly(self, file: str) -> bool:
        commit = _is_commit(self.revision)
        part = self.cache / "blobs" / f"{self.revision}-{file}.incomplete"

        def check(path: Path) -> str | None:
            revision = self.revision if commit else None
            return checkpoint.check_file(path, file, revision, self.checksum(file))[1]

        url = hf_hub_url(self.name, file, revision=self.revision)
        if not fetch_file(url, self.snapshot / file, part, check, resume=commit):
            return False
        if commit and (branch := _revision(self.name)) != self.revision:
            (self.cache / "refs").mkdir(exist_ok=True)
            with atomic_path(self.cache / "refs" / branch) as ref:
                ref.write_text(self.revision)
        return True

    def checksum(self, file: str) -> str:
        """The listed checksum, or "": SHA-256 of a large file, git's SHA-1 of a small file."""
        about = (self.listed or {}).get(file)
        return ((about.lfs.sha256 if about.lfs else about.blob_id) or "") if about else ""

    def size(self) -> str:
        """The size of the listed weights that are not cached yet, for a message."""
        lacking = [
            about.size or 0
            for file, about in (self.listed or {}).items()
            if re.fullmatch(r"[^/]+\.safetensors", file) and not (self.snapshot / file).is_file()
        ]
        return f", {sum(lacking) / 1e6:.0f} MB," if lacking else ""


def _fetch(name: str, absence: str, kind: Kind) -> Path:
    """Download the files of ``name`` that the cache lacks; returns the complete snapshot.

    ``absence``: the beginning of the error message. Raises WeightsUnavailable with the reason.
    """
    info = _ask_hub(name)
    source = _Source(name, info if isinstance(info, ModelInfo) else None)
    if isinstance(info, Exception) and not (_answered(info) and _has_config(source)):
        why = _why(name, info, f"{constants.ENDPOINT} can't be reached: ")
        raise WeightsUnavailable(messages.not_fetched(name, absence, why, source.cache, kind))
    try:
        _fetch_files(source, kind)
    except MmsentError:
        raise
    except Exception as error:
        why = _why(name, error)
        stopped = messages.interrupted(name, constants.HF_HUB_CACHE, why, kind)
        raise WeightsUnavailable(stopped) from None
    return source.snapshot


def _answered(error: Exception) -> bool:
    """Whether ``error`` came from an answer; a mirror may have no listing."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None or isinstance(error, (ValueError, KeyError, TypeError))


def _has_config(source: _Source) -> bool:
    try:
        return source.get(checkpoint.CONFIG)
    except Exception as error:
        log.debug("%s can't be used as a mirror either: %s", constants.ENDPOINT, error)
        return False


def _fetch_files(source: _Source, kind: Kind) -> None:
    """Download a checkpoint, small files first: they show whether mmsent supports the model."""

    def need(file: str) -> None:
        if not source.get(file):
            raise WeightsUnavailable(messages.no_file(source.name, file, constants.ENDPOINT, kind))

    need(checkpoint.CONFIG)
    model_type = checkpoint.read_model_type(source.snapshot, source.name, kind)
    for file in kind.descriptions(model_type, source.get):
        need(file)
    size, to = source.size(), source.snapshot
    log.info("downloading %s%s from %s to %s", source.name, size, constants.ENDPOINT, to)
    if not source.get(checkpoint.WEIGHTS) and not source.get(checkpoint.INDEX):
        need(checkpoint.WEIGHTS)
    for file in checkpoint.missing_files(source.snapshot, source.name, kind):
        need(file)


def _ask_hub(name: str) -> ModelInfo | Exception:
    """The hub's listing of ``name``, commit and files, or an error if it does not answer.

    A socket timeout is not enough: it does not cover DNS lookups.
    """
    if constants.HF_HUB_OFFLINE:
        return ConnectionError("HF_HUB_OFFLINE is set (unset it to download)")
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
    """The hub's answer, or ``otherwise`` and the error's innermost reason, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        return f"{constants.ENDPOINT} has no {name}, or requires `hf auth login` for it"
    if status is not None:
        return f"{constants.ENDPOINT} answers with the HTTP status {status}"
    if isinstance(error, (json.JSONDecodeError, KeyError, TypeError)):
        return f"{constants.ENDPOINT} does not answer like a hub, but like a login page or a proxy"
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return otherwise + str(reason).split("\n")[0]

"""CLIP's weights: found in a folder or in the hub's cache, or fetched; verified before use.

Only safetensors are read. A damaged file is named and never used, nor fetched over.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TypeVar

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from mmsent import clip_pin
from mmsent.errors import InputError, MmsentError
from mmsent.files.progress import Progress

T = TypeVar("T")

DEFAULT_CLIP, REVISION, MODEL_BYTES = (
    clip_pin.REPOSITORY,
    clip_pin.REVISION,
    clip_pin.WEIGHTS_SIZE,
)

DESCRIPTIONS = ("config.json", "preprocessor_config.json", "tokenizer.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Names the shards, where the weights are more than one file."""

PROBE_SECONDS = 10
"""How long the hub may take to say what it has: under 15 seconds together with all the rest."""

SLOW_BYTES = 2_000_000_000
"""More than this takes several seconds to hash, and shows progress."""

CHUNK = 1 << 20


class WeightsUnavailable(MmsentError):
    """CLIP's weights are not to be had, or are damaged; the message gives reason and remedy."""


@dataclass(frozen=True)
class ClipCheckpoint:
    """A whole and verified checkpoint.

    ``folder`` holds config.json, preprocessor_config.json, tokenizer.json and the weights, as
    safetensors. ``name``: what was asked for, the hub's name or the folder. ``revision``: the
    hub's commit; None for a local folder. ``sha256``: of the weights, a hexadecimal number.
    """

    folder: Path
    name: str
    revision: str | None
    sha256: str


def find_clip(name: str = DEFAULT_CLIP, *, fetch: bool = True) -> ClipCheckpoint:
    """The checkpoint in the folder ``name``, or the hub's of that name: from its cache, or fetched.

    Raises WeightsUnavailable where it can't be had or is damaged, and InputError where ``name``
    can be neither. Without a network that takes less than 15 seconds.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if missing := _missing(folder):
            raise WeightsUnavailable(_lacks(folder, missing))
        return _verify(folder, name, None, _again(folder))
    cached, missing = _cached(name)
    if cached is None or missing:
        where = f"{name} is not{' whole' if cached else ''} in the cache, {constants.HF_HUB_CACHE}"
        if missing:
            where += f" (without {', '.join(missing)})"
        if not fetch:
            raise WeightsUnavailable(f"{where}; {_remedy(name)}")
        cached = _fetch(name, None, where)
    return _verify(cached, name, cached.name, f"run {_command(name)}")


def download(name: str, to: Path | None) -> tuple[ClipCheckpoint, bool]:
    """Fetch the hub's checkpoint ``name`` into its cache, or into the folder ``to``.

    Also says whether anything had to be fetched. Raises what find_clip raises, and InputError
    where ``to`` holds something else.
    """
    if to is None:
        if Path(name).expanduser().is_dir():
            return find_clip(name), False
        cached, missing = _cached(name)
        return find_clip(name), cached is None or bool(missing)
    cached, _ = _cached(name)
    _check_target(to, name)
    there = to.is_dir() and not _missing(to) and all(map(_download_note, _present(to)))
    if not there:
        if cached is not None:  # the library copies what it finds there, damaged or not
            _check_files(cached, _revision(name), f"run {_command(name)}")
        _fetch(name, to, f"{to} does not hold {name} yet")
    return _verify(to, name, _commit(to), _again(to)), not there


def _check_target(to: Path, name: str) -> None:
    """Raises InputError where ``to`` holds other things than a download of ``name``."""
    if not to.exists():
        return
    if not to.is_dir():
        raise InputError(f"{to} is a file; name a folder")
    if not _is_download(to) and any(to.iterdir()):
        raise InputError(f"{to} holds other files; name a new or an empty folder")
    commit = _commit(to)
    if commit is not None and (commit == REVISION) != (name == DEFAULT_CLIP):
        raise InputError(f"{to} holds another checkpoint than {name}; name another folder")


def _is_download(folder: Path) -> bool:
    """Whether huggingface_hub has put files into a folder, or begun to."""
    return (folder / ".cache" / "huggingface").is_dir()


def _commit(folder: Path) -> str | None:
    """The hub's commit of a folder that `download` made; None for any other."""
    notes = [_download_note(folder / name) for name in (*DESCRIPTIONS, WEIGHTS, INDEX)]
    return next((note[0] for note in notes if note), None)


def _download_note(path: Path) -> list[str]:
    """What huggingface_hub notes of a file that it put into a folder: commit, etag, time."""
    note = path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"
    return note.read_text(encoding="utf-8").split() if note.is_file() else []


def _cached(name: str) -> tuple[Path | None, list[str]]:
    """The hub's cached snapshot of ``name``, if there is any, and what is missing in it.

    Raises InputError where ``name`` can't be a name on the hub.
    """
    for file in (*DESCRIPTIONS, WEIGHTS, INDEX):
        try:
            found = try_to_load_from_cache(
                name, file, cache_dir=constants.HF_HUB_CACHE, revision=_revision(name)
            )
        except HFValidationError:
            raise InputError(
                f"{name} can't be used: give a folder that is here, or a checkpoint's name on the "
                f"hub, such as {DEFAULT_CLIP}"
            ) from None
        if isinstance(found, str):
            folder = Path(found).parent
            return folder, _missing(folder)
    return None, []


def _revision(name: str) -> str:
    return REVISION if name == DEFAULT_CLIP else constants.DEFAULT_REVISION


def _missing(folder: Path) -> list[str]:
    """The files that a folder lacks to be a checkpoint."""
    wanted = list(DESCRIPTIONS)
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        wanted += _shards(folder / INDEX)
    else:
        wanted.append(WEIGHTS)
    return [name for name in wanted if not (folder / name).is_file()]


def _present(folder: Path) -> list[Path]:
    """The files of a checkpoint that are in a folder."""
    names = [*DESCRIPTIONS, WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        names += [INDEX, *_shards(folder / INDEX)]
    return [folder / name for name in names if (folder / name).is_file()]


def _shards(index: Path) -> list[str]:
    """The shards that an index names. Raises WeightsUnavailable where it is none."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        shards = sorted(set(content["weight_map"].values()))
        if not all(re.fullmatch(r"[\w-][\w.-]*\.safetensors", shard) for shard in shards):
            raise ValueError("it names other files than safetensors beside it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsUnavailable(
            f"{index} is no index of safetensors shards ({error}); delete it (rm "
            f"{shlex.quote(str(index.resolve()))}), then fetch it again"
        ) from None
    return shards


def _lacks(folder: Path, missing: list[str]) -> str:
    """The message for a local folder that is no whole checkpoint."""
    lacks = f"{folder} is no whole CLIP checkpoint: it lacks {', '.join(missing)}"
    if _is_download(folder):
        return f"{lacks}; a download into it did not finish: run {_download_again(folder)} again"
    if WEIGHTS in missing and (pickles := sorted(folder.glob("*.bin"))):
        lacks += f", and {pickles[0].name} is a pickle, which is never loaded"
    return f"{lacks}; `mmsent download-clip --to DIR` makes a folder that holds everything"


def _again(folder: Path) -> str:
    """How to replace a damaged file in a local folder, for a message."""
    if not _is_download(folder):
        return f"copy it to {folder} again"
    return (
        f"run {_download_again(folder)}, or copy it again; if it was replaced on purpose, delete "
        f"{folder / '.cache'} instead"
    )


def _download_again(folder: Path) -> str:
    """The command that made a folder, as far as that is known, for a message."""
    return _command(DEFAULT_CLIP if _commit(folder) in (REVISION, None) else "NAME", folder)


def _verify(folder: Path, name: str, revision: str | None, again: str) -> ClipCheckpoint:
    """Check every file of a whole checkpoint. Raises WeightsUnavailable for a damaged one."""
    digests = _check_files(folder, revision or _commit(folder), again)
    if len(digests) == 1:
        [sha256] = digests
    else:
        sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    return ClipCheckpoint(folder, name, revision, sha256)


def _check_files(folder: Path, commit: str | None, again: str) -> list[str]:
    """Check the files of a checkpoint that are there; the SHA-256 of each that holds weights.

    Raises WeightsUnavailable that names a damaged one; ``again`` says how to replace it.
    """
    digests = []
    for path in _present(folder):
        recorded = _recorded(path)
        if path.suffix == ".safetensors":
            wanted = MODEL_BYTES if (commit, path.name) == (REVISION, WEIGHTS) else None
            damage = _size_damage(path, wanted)
            if damage is None:
                digests.append(_sha256(path))
                if len(recorded) == 64 and recorded != digests[-1]:
                    damage = f"its SHA-256 is {digests[-1]}, not {recorded} as the hub gave it"
        else:
            damage = _small_damage(path.read_bytes(), recorded)
        if damage is not None:
            # A link in the cache leads to the file; once that is gone, the link counts as missing.
            raise WeightsUnavailable(
                f"{path} is damaged: {damage}. Delete it (rm {shlex.quote(str(path.resolve()))}), "
                f"then {again}"
            )
    return digests


def _recorded(path: Path) -> str:
    """The checksum that the hub gave a file, which its cache and downloads keep; "" if unknown.

    It is the SHA-256 of a large file, else git's SHA-1; a mirror may give something else.
    """
    # Only the first link tells: what it leads to may be a link to a store with other names.
    note = [Path(os.readlink(path)).name] if path.is_symlink() else _download_note(path)[1:2]
    recorded = "".join(note)
    return recorded if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", recorded) else ""


def _small_damage(content: bytes, recorded: str) -> str | None:
    """What is wrong with one of the JSON files; None for nothing."""
    digests = {
        hashlib.sha256(content).hexdigest(),
        hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),  # as git names it
        hashlib.sha1(content).hexdigest(),  # some mirrors
    }
    if recorded and recorded not in digests:
        return f"its checksum is not {recorded}"
    try:
        json.loads(content)
    except ValueError as error:
        return f"it is no JSON ({error})"
    return None


def _size_damage(path: Path, wanted: int | None) -> str | None:
    """What is wrong with the size of a safetensors file: ``wanted``, and what its header says."""
    size = path.stat().st_size
    if wanted is not None and size != wanted:
        return f"it has {size:,} bytes, not {wanted:,}"
    # The format: the header's length, uint64 little-endian; the header, JSON; the tensors.
    with open(path, "rb") as file:
        start = file.read(8)
        if start == b"version ":
            return "it is only Git LFS's pointer to the file, which `git lfs pull` fetches"
        length = int.from_bytes(start, "little")
        if size < 8 or length > min(size - 8, constants.SAFETENSORS_MAX_HEADER_LENGTH):
            return f"its {size:,} bytes do not begin as safetensors do"
        try:
            header = json.loads(file.read(length))
            ends = [item["data_offsets"][1] for key, item in header.items() if key[:2] != "__"]
            end = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return "its header can't be read"
    return None if size == end else f"it has {size:,} bytes; its header says {end:,}"


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, with progress if that takes long."""
    size = path.stat().st_size
    digest = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    if size < SLOW_BYTES:
        for chunk in chunks():
            digest.update(chunk)
    else:
        with Progress(f"verifying {path.name}", size // CHUNK, "MiB", summary=False) as progress:
            for chunk in chunks():
                digest.update(chunk)
                progress.update()
    return digest.hexdigest()


def _fetch(name: str, to: Path | None, where: str) -> Path:
    """Fetch what is missing of ``name`` into the hub's cache, or into ``to``; the folder it is in.

    ``where`` says that it is not there yet. Raises WeightsUnavailable with the reason.
    """
    if constants.HF_HUB_OFFLINE:
        raise WeightsUnavailable(
            f"{where}, and HF_HUB_OFFLINE is set, so that it is not fetched; unset it, or "
            f"{_remedy(name)}"
        )
    try:
        commit, size, sharded = _within(PROBE_SECONDS, lambda: _ask_hub(name))
    except MmsentError:
        raise
    except FutureTimeout:
        why = f"it does not answer within {PROBE_SECONDS} s"
        raise WeightsUnavailable(_unreachable(name, where, why)) from None
    except Exception as error:
        raise WeightsUnavailable(_refusal(name, where, error)) from None

    print(
        f"fetching {name} ({size / 1e6:,.0f} MB) from {constants.ENDPOINT} to "
        f"{to or constants.HF_HUB_CACHE}",
        file=sys.stderr,
        flush=True,
    )

    def get(file: str, revision: str) -> Path:
        try:
            return Path(hf_hub_download(name, file, revision=revision, local_dir=to))
        except Exception as error:
            if _is_absent(error):
                raise WeightsUnavailable(_absence(name, file)) from None
            raise

    try:
        # Asked for by the branch, so that the cache knows of which commit it holds the rest.
        first = get(DESCRIPTIONS[0], commit if to else _revision(name))
        commit = commit if to else first.parent.name
        for file in DESCRIPTIONS[1:]:
            get(file, commit)
        for file in _shards(get(INDEX, commit)) if sharded else [WEIGHTS]:
            _fetch_body(name, file, commit, first, to)
            get(file, commit)
    except MmsentError:
        raise
    except Exception as error:
        raise WeightsUnavailable(_interruption(name, to, error)) from None
    return first.parent


def _fetch_body(name: str, file: str, commit: str, beside: Path, to: Path | None) -> None:
    """Fetch weights to where huggingface_hub then finds them, resuming what was begun.

    huggingface_hub 1.31 and later start again from nothing, as earlier ones do over Xet storage.
    Here a file also gets its name only when its SHA-256 is right. ``beside``: a file of the same
    checkpoint, where the library has put it.
    """
    url = hf_hub_url(name, file, revision=commit)
    found = get_hf_file_metadata(url)
    sha256 = found.etag or ""
    if found.size is None or not re.fullmatch("[0-9a-f]{64}", sha256):
        return  # a mirror without checksums: the library fetches it
    if to is None:
        repository = beside.parent.parent.parent
        target = repository / "blobs" / sha256
        part = target.with_name(f"{sha256}.incomplete")
        lock = Path(constants.HF_HUB_CACHE, ".locks", repository.name, f"{sha256}.lock")
    elif isinstance(try_to_load_from_cache(name, file, revision=commit), str):
        return  # the library copies it
    else:
        target = to / file
        part = to / ".cache" / "huggingface" / "download" / f"{file}.incomplete"
        lock = part.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if target.exists():
            return
        with open(part, "ab") as stream:
            if stream.tell() > found.size:
                stream.seek(0)
                stream.truncate()
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers() | {"Accept-Encoding": "identity"},
                expected_size=found.size,
                displayed_filename=file,
            )
        if (got := _sha256(part)) != sha256:
            part.unlink()
            raise WeightsUnavailable(
                f"what {constants.ENDPOINT} sent as {name}'s {file} has the SHA-256 {got}, not "
                f"{sha256}; it was deleted: run {_command(name, to)} again, or set HF_ENDPOINT to "
                "another mirror"
            )
        os.replace(part, target)


def _ask_hub(name: str) -> tuple[str, int, bool]:
    """The commit of ``name`` on the hub, the size of its weights' file, and whether it is an index.

    Raises WeightsUnavailable where the hub has no safetensors of it, or others than expected.
    """
    # The library tries again and again, for minutes; one plain request tells whether the hub is
    # there, and the storage that it redirects to. Its time limit is above that of the caller, who
    # says it more clearly.
    answer = get_session().request(
        "HEAD",
        hf_hub_url(name, WEIGHTS, revision=_revision(name)),
        headers=build_hf_headers(),
        timeout=2 * PROBE_SECONDS,
    )
    if answer.status_code >= 500:
        answer.raise_for_status()
    for file in (WEIGHTS, INDEX):
        url = hf_hub_url(name, file, revision=_revision(name))
        try:
            found = get_hf_file_metadata(url, timeout=PROBE_SECONDS)
        except Exception as error:
            if not _is_absent(error):
                raise
            continue
        if found.commit_hash is None or found.etag is None or found.size is None:
            raise WeightsUnavailable(
                f"{constants.ENDPOINT} does not answer as a hub does: a network's login page, or "
                f"a proxy? {_remedy(name)}"
            )
        if name == DEFAULT_CLIP and file == WEIGHTS and found.size != MODEL_BYTES:
            raise WeightsUnavailable(
                f"{constants.ENDPOINT} offers {found.size:,} bytes as {name}'s {file}, which has "
                f"{MODEL_BYTES:,}; nothing was fetched. {_remedy(name)}"
            )
        return found.commit_hash, found.size, file == INDEX
    raise WeightsUnavailable(_absence(name, WEIGHTS))


def _within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``. Raises TimeoutError where it takes longer; then it is abandoned.

    A time limit of the socket would not do: looking up a host's name is not subject to it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of huggingface_hub stands for."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_absent(error: BaseException) -> bool:
    """Whether the hub knows the repository, but not the file in it."""
    others = (RepositoryNotFoundError, RevisionNotFoundError, LocalEntryNotFoundError)
    if isinstance(error, others):
        return False
    return isinstance(error, EntryNotFoundError) or _status(error) == 404


def _why(error: BaseException) -> str:
    """The innermost reason that the system gave for an error, else the error's own first line."""
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return reason


def _refusal(name: str, where: str, error: Exception) -> str:
    """The message for an error in asking the hub."""
    hub, status = constants.ENDPOINT, _status(error)
    if isinstance(error, GatedRepoError):
        why = (
            f"{hub} gives {name} only to those who accepted its terms: do so, then `hf auth login`"
        )
    elif isinstance(error, RevisionNotFoundError):
        why = f"{hub} has no revision {_revision(name)} of {name}"
    elif isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        why = f"{hub} does not know {name}, or only for those who log in with `hf auth login`"
    elif status is not None:
        why = f"{hub} answered with the HTTP status {status}"
    else:
        return _unreachable(name, where, _why(error))
    return f"{where}, and {why}; {_remedy(name)}"


def _absence(name: str, file: str) -> str:
    """The message for a file that the hub does not have."""
    pickle = ", and a pickle is never loaded" if file == WEIGHTS else ""
    if name == DEFAULT_CLIP:
        remedy = _remedy(name)  # only a mirror can lack it
    else:
        remedy = f"choose another checkpoint: {DEFAULT_CLIP} has all; or --model light"
    return f"{constants.ENDPOINT} has no {file} of {name} at {_revision(name)}{pickle}; {remedy}"


def _unreachable(name: str, where: str, why: str) -> str:
    return f"{where}, and {constants.ENDPOINT} can't be reached: {why}; {_remedy(name)}"


def _interruption(name: str, to: Path | None, error: Exception) -> str:
    """The message for an error in the middle of a download."""
    local = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    local = local or isinstance(error, PermissionError)
    what = f"can't be written to {to or constants.HF_HUB_CACHE}" if local else "broke off"
    return (
        f"the download of {name} from {constants.ENDPOINT} {what}: {_why(error)}; what came is "
        f"kept: {_command(name, to)} goes on from there"
    )


def how_to_use(name: str, to: Path | None) -> str:
    """What to do with a checkpoint that `download` fetched, for a message."""
    if to is None:
        clip = "" if name == DEFAULT_CLIP else f" --clip {shlex.quote(name)}"
        return f"train with `mmsent train --model clip{clip}`, also where HF_HUB_OFFLINE=1 is set"
    return (
        f"train with `mmsent train --model clip --clip {shlex.quote(str(to))}`, here or, without "
        "any network, on a machine that the folder was copied to"
    )


def _command(name: str, to: Path | None = None) -> str:
    """The command that fetches ``name``, for a message."""
    words = ["mmsent", "download-clip"]
    words += ["--clip", name] if name != DEFAULT_CLIP else []
    words += ["--to", str(to)] if to is not None else []
    return f"`{shlex.join(words)}`"


def _remedy(name: str) -> str:
    """What to do where the hub can't be reached."""
    return (
        f"run {_command(name)} where there is a network; or run "
        f"{_command(name, Path('DIR'))} on a machine with one, copy DIR here and give --clip DIR; "
        "or set HF_ENDPOINT to a mirror; or train without CLIP: --model light"
    )

"""Pretrained checkpoints, and whether their files are whole.

CLIP's is a folder with config.json, preprocessor_config.json, tokenizer.json and the weights:
model.safetensors, or shards and the index that names them.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mmsent import clip_pin
from mmsent.errors import MmsentError
from mmsent.files.progress import Progress
from mmsent_training.weights import messages

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
DESCRIPTIONS = (CONFIG, "preprocessor_config.json", "tokenizer.json")
CHECKSUMS = "SHA256SUMS"
CHUNK = 1 << 20


class WeightsUnavailable(MmsentError):
    """Weights are missing, can't be fetched or are damaged.

    The message's first line says which and why, the others say what to do.
    """


@dataclass(frozen=True)
class ClipCheckpoint:
    """A whole and verified CLIP checkpoint.

    ``name`` is what was asked for: a name on the hub or a folder. ``revision`` is the hub's
    commit, None for a local folder. ``sha256``, in hexadecimal, is that of the weights; of shards,
    that of their SHA-256, joined in the order of their names.
    """

    folder: Path
    name: str
    revision: str | None
    sha256: str


def file_names(folder: Path) -> list[str]:
    """The files of which the checkpoint in ``folder`` consists, whether they are there or not."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [*DESCRIPTIONS, WEIGHTS]
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if not all(re.fullmatch(r"[\w-][\w.-]*\.safetensors", shard) for shard in shards):
            raise ValueError("it names other files than safetensors beside it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        damage = f"it is not an index of safetensors ({error})"
        raise WeightsUnavailable(messages.damaged(index, damage, "get it again")) from None
    return [*DESCRIPTIONS, INDEX, *shards]


def missing_files(folder: Path) -> list[str]:
    """The files that ``folder`` lacks to be a checkpoint."""
    return [name for name in file_names(folder) if not (folder / name).is_file()]


def verify(
    folder: Path, name: str, revision: str | None = None, fix: str = messages.COPY_AGAIN
) -> tuple[ClipCheckpoint, dict[str, str]]:
    """The checkpoint in ``folder``, and the SHA-256 of each of its files.

    Raises WeightsUnavailable for missing files, and for the first damaged one; ``fix`` says how to
    get that again.
    """
    if missing := missing_files(folder):
        raise WeightsUnavailable(messages.incomplete(folder, missing))
    known, digests = known_checksums(folder), {}
    for file in file_names(folder):
        digests[file] = _sha256(folder / file)
        pinned = file == WEIGHTS and revision == clip_pin.REVISION
        expected = clip_pin.WEIGHTS_SIZE if pinned else None
        if damage := _damage(folder / file, digests[file], known.get(file, ""), expected):
            raise WeightsUnavailable(messages.damaged(folder / file, damage, fix))
    weights = [digest for file, digest in digests.items() if file.endswith(".safetensors")]
    joined = hashlib.sha256("".join(weights).encode()).hexdigest()
    sha256 = weights[0] if len(weights) == 1 else joined
    return ClipCheckpoint(folder, name, revision, sha256), digests


def known_checksums(folder: Path) -> dict[str, str]:
    """The files' checksums from SHA256SUMS or, in the hub's cache, from its links, by file name.

    There each file is a link to one that is named by the checksum that the hub gave: its SHA-256,
    or git's SHA-1 for a small file; a mirror may give something else.
    """
    if (sums := folder / CHECKSUMS).is_file():
        lines = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines()]
        return {line[1]: line[0] for line in lines if len(line) == 2}
    return {p.name: Path(os.readlink(p)).name for p in folder.glob("*") if p.is_symlink()}


def _damage(path: Path, sha256: str, known: str, expected: int | None) -> str | None:
    """What is wrong with a file; None for nothing. ``expected`` is its size in bytes, if known."""
    size, digests, form = path.stat().st_size, {sha256}, "[0-9a-f]{64}"
    content = path.read_bytes() if path.suffix == ".json" or size < 1000 else b""
    if content.startswith(b"version https://git-lfs"):
        return "it is only Git LFS's pointer to the file, which `git lfs pull` fetches"
    if expected not in (None, size):
        return f"it has {size:,} bytes, not {expected:,}"
    try:
        if path.suffix == ".json":
            json.loads(content)
            blob = b"blob %d\0" % size + content  # what git hashes; some mirrors hash the content
            digests |= {hashlib.sha1(blob).hexdigest(), hashlib.sha1(content).hexdigest()}
            form += "|[0-9a-f]{40}"
        else:
            with safe_open(path, framework="np"):  # checks the size against the header
                pass
    except (ValueError, SafetensorError) as error:
        return f"its {size:,} bytes are not a whole {path.suffix[1:]} file ({error})"
    wrong = re.fullmatch(form, known) and known not in digests
    return f"its checksum is not {known}" if wrong else None


def _sha256(path: Path) -> str:
    size, digest = path.stat().st_size, hashlib.sha256()
    bar = Progress(f"verifying {path.name}", size // CHUNK, "MiB", summary=False)
    with open(path, "rb") as file, bar as progress:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress.update()
    return digest.hexdigest()

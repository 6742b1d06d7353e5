"""Pretrained checkpoints, and whether their files are complete.

A CLIP checkpoint is a folder with config.json, preprocessor_config.json, tokenizer.json and the
weights: model.safetensors, or shards and their index. Related models differ in the tokenizer.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mmsent import clip_pin
from mmsent.errors import InputError, MmsentError
from mmsent.files.atomic import atomic_path
from mmsent.files.progress import Progress
from mmsent_training.weights import messages
from mmsent_training.weights.kind import Kind

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER, TOKENIZER_CONFIG, VOCABULARY = "tokenizer.json", "tokenizer_config.json", "vocab.txt"
MODEL_TYPES = ("clip", "chinese_clip", "siglip")
"""The dual encoders that can be trained, as transformers' config.json names them."""
CHECKSUMS = "SHA256SUMS"
POINTER = b"version https://git-lfs"
CHUNK = 1 << 20


class WeightsUnavailable(MmsentError):
    """Weights are missing, can't be downloaded, or are damaged.

    The message's first line says which and why; the other lines say what to do.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A complete and verified checkpoint.

    ``name``: as requested, a name on the hub or a folder. ``revision``: the hub's commit, or None
    for a local folder. ``sha256``: of the weights, in hexadecimal; for shards, the SHA-256 of their
    joined SHA-256, in the order of their names.
    """

    folder: Path
    name: str
    revision: str | None
    sha256: str


def read_model_type(folder: Path, name: str, kind: Kind) -> str:
    """The model type in the config.json of the checkpoint ``name``, which is in ``folder``.

    It is "timm" if it has timm's key "architecture". Returns the first of the kind's types if that
    file is missing or damaged, which other checks report. Raises InputError if it is another type.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return kind.types[0]
    found = config.get("model_type") if isinstance(config, dict) else None
    if found is None and isinstance(config, dict) and "architecture" in config:
        found = "timm"
    if found not in kind.types:
        raise InputError(messages.other_model(name, found, kind.types))
    return str(found)


def _describe_clip(model_type: str, exists: Callable[[str], bool]) -> list[str]:
    """SigLIP's tokenizer_config.json names its padding token. Chinese-CLIP often has a vocabulary
    instead of a tokenizer.json, and perhaps a tokenizer_config.json for it.
    """
    files = [CONFIG, PREPROCESSOR, TOKENIZER]
    if model_type == "chinese_clip" and not exists(TOKENIZER) and exists(VOCABULARY):
        files = [CONFIG, PREPROCESSOR, VOCABULARY]
        return [*files, TOKENIZER_CONFIG] if exists(TOKENIZER_CONFIG) else files
    return [*files, TOKENIZER_CONFIG] if model_type == "siglip" else files


def _download_clip(name: str, folder: str | None) -> list[str]:
    clip = ["--clip", name] if name != clip_pin.REPOSITORY else []
    return ["mmsent", "download-clip", *clip, *(["--to", folder] if folder else [])]


CLIP = Kind(
    "clip",
    MODEL_TYPES,
    _describe_clip,
    _download_clip,
    instead="train without CLIP: --model compact or --model light",
    default=clip_pin.REPOSITORY,
)


def file_names(folder: Path, name: str, kind: Kind) -> list[str]:
    """The files that belong to the checkpoint in ``folder``, whether they exist or not.

    Raises InputError if mmsent can't train its model.
    """
    model_type = read_model_type(folder, name, kind)
    described = kind.descriptions(model_type, lambda file: (folder / file).is_file())
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [*described, WEIGHTS]
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if not all(re.fullmatch(r"[\w-][\w.-]*\.safetensors", shard) for shard in shards):
            raise ValueError("it names files that are not safetensors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        damage = f"it is not an index of safetensors ({error})"
        raise WeightsUnavailable(messages.damaged(index, damage, "get it again")) from None
    return [*described, INDEX, *shards]


def missing_files(folder: Path, name: str, kind: Kind) -> list[str]:
    """The files of the checkpoint ``name`` that are missing in ``folder``."""
    return [file for file in file_names(folder, name, kind) if not (folder / file).is_file()]


def verify(
    folder: Path,
    name: str,
    kind: Kind,
    revision: str | None = None,
    fix: str = messages.COPY_AGAIN,
) -> tuple[Checkpoint, dict[str, str]]:
    """The checkpoint in ``folder``, and the SHA-256 of each of its files.

    Raises WeightsUnavailable for missing files, or for the first damaged file; ``fix`` says how to
    get it again. Raises InputError if mmsent can't train its model.
    """
    if missing := missing_files(folder, name, kind):
        raise WeightsUnavailable(messages.incomplete(folder, missing, kind))
    known, digests = known_checksums(folder), {}
    for file in file_names(folder, name, kind):
        digests[file], damage = check_file(folder / file, file, revision, known.get(file, ""))
        if damage:
            raise WeightsUnavailable(messages.damaged(folder / file, damage, fix))
    weights = [digest for file, digest in digests.items() if file.endswith(".safetensors")]
    joined = hashlib.sha256("".join(weights).encode()).hexdigest()
    sha256 = weights[0] if len(weights) == 1 else joined
    return Checkpoint(folder, name, revision, sha256), digests


def known_checksums(folder: Path) -> dict[str, str]:
    """The files' checksums from SHA256SUMS or, in the hub's cache, from its links, by file name.

    In the hub's cache, each file is a link to a file that is named by the hub's checksum: SHA-256,
    or git's SHA-1 for a small file. A mirror may give something else.
    """
    if (sums := folder / CHECKSUMS).is_file():
        lines = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines()]
        return {line[1]: line[0] for line in lines if len(line) == 2}
    return {p.name: Path(os.readlink(p)).name for p in folder.glob("*") if p.is_symlink()}


def write_checksums(folder: Path, digests: dict[str, str]) -> None:
    """Write the files' SHA-256 to SHA256SUMS, in the format of sha256sum."""
    with atomic_path(folder / CHECKSUMS) as part:
        part.write_text("".join(f"{digests[file]}  {file}\n" for file in digests))


def check_file(path: Path, name: str, revision: str | None, known: str) -> tuple[str, str | None]:
    """A file's SHA-256, and its damage, or None.

    ``name``: the name of the file in the checkpoint. ``known``: its checksum, or "". The default
    checkpoint's weights have a pinned checksum and size.
    """
    digest, size = file_sha256(path, name), None
    if name == WEIGHTS and revision == clip_pin.REVISION:
        known, size = known or clip_pin.WEIGHTS_SHA256, clip_pin.WEIGHTS_SIZE
    return digest, _damage(path, name, digest, known, size)


def _damage(path: Path, name: str, sha256: str, known: str, expected: int | None) -> str | None:
    """The damage of a file, or None. ``expected``: its size in bytes, if known."""
    size, digests, form = path.stat().st_size, {sha256}, "[0-9a-f]{64}"
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            return "it is only a Git LFS pointer; `git lfs pull` downloads the file"
    if expected not in (None, size):
        return f"it has {size:,} bytes, not {expected:,}"
    suffix = Path(name).suffix
    try:
        if suffix == ".safetensors":
            with safe_open(path, framework="np"):  # checks the size against the header
                pass
        else:
            content = path.read_bytes()
            if suffix == ".json":
                json.loads(content)
            blob = b"blob %d\0" % size + content  # what git hashes; some mirrors hash the content
            digests |= {hashlib.sha1(blob).hexdigest(), hashlib.sha1(content).hexdigest()}
            form += "|[0-9a-f]{40}"
    except (ValueError, SafetensorError) as error:
        return f"its {size:,} bytes are not a complete {suffix[1:]} file ({error})"
    wrong = re.fullmatch(form, known) and known not in digests
    return f"its checksum is not {known}" if wrong else None


def file_sha256(path: Path, name: str) -> str:
    """The SHA-256 of a file, hexadecimal; ``name`` is shown next to the progress."""
    size, digest = path.stat().st_size, hashlib.sha256()
    bar = Progress(f"verifying {name}", size // CHUNK, "MiB", summary=False)
    with open(path, "rb") as file, bar as progress:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress.update()
    return digest.hexdigest()

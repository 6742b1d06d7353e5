"""Embeddings of a frozen encoder: computed once per pair, and cached."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

from mmsent.data.pair import Pair
from mmsent.files.atomic import atomic_path
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import pad_ids
from mmsent_training.distributed import all_gather, broadcast, name_part, rank, world_size
from mmsent_training.examples import Examples, decode_images
from mmsent_training.settings import Precision

BATCH_SIZE = 16
CHUNK = 256
"""Pairs whose images are decoded together, while the previous chunk is embedded: whole batches."""

logger = logging.getLogger(__name__)


def cache_file(kind: str, key: Mapping[str, Any]) -> Path:
    """The cache file for ``key``, which consists of plain values.

    The cache is MMSENT_CACHE, or else mmsent/ in the user's cache folder.
    """
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("MMSENT_CACHE") or f"{user}/mmsent").expanduser()
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{kind}-{digest[:32]}.safetensors"


def module_sha256(module: nn.Module) -> str:
    """The SHA-256 of the names, types, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        array = tensor.cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def cached_embeddings(
    model: nn.Module,
    examples: Examples,
    ids: Sequence[Sequence[int]],
    indices: Sequence[int],
    image: ImageSettings,
    *,
    key: Mapping[str, Any],
    precision: Precision,
) -> npt.NDArray[np.float32]:
    """``model.embed`` of some pairs, float32 [indices, features], from the cache if possible.

    ``key`` identifies the encoder: its weights, tokenizer and everything else that affects an
    embedding. The cache identifies pairs by their contents, so it also works for other lists and
    labels. Several processes share the pairs, and use the main process's cache.
    Raises InputError that names every image which can't be decoded.
    """
    path = cache_file("embeddings", {**key, "image": asdict(image), "precision": precision})
    digests = [examples.digests[index] for index in indices]
    arrays = read_cached(path) if rank() == 0 else {}
    keys = (digest.tobytes() for digest in arrays.get("digests", ()))
    cached = dict(zip(keys, arrays.get("features", ())))
    known = broadcast({digest: cached[digest] for digest in digests if digest in cached})
    # One pair per content, sorted by length, so that batches have little padding.
    missing = {digest: index for digest, index in zip(digests, indices) if digest not in known}
    order = sorted(missing.values(), key=lambda index: len(ids[index]))
    known_pairs = sum(digest in known for digest in digests)
    logger.info("%d of %d pairs are in the cache %s", known_pairs, len(indices), path)
    if order:
        # Whole batches per process, so that batches do not depend on the number of processes.
        starts = range(rank() * BATCH_SIZE, len(order), world_size() * BATCH_SIZE)
        mine = [index for start in starts for index in order[start : start + BATCH_SIZE]]
        pairs = [examples.pairs[index] for index in mine]
        rows = [*_embed(model, pairs, [ids[i] for i in mine], image, precision)] if mine else []
        for part, embeddings in all_gather((mine, rows)):
            known |= {examples.digests[index]: row for index, row in zip(part, embeddings)}
        if rank() == 0:
            cached |= known
            array = np.array([np.frombuffer(digest, np.uint8) for digest in cached])
            write_cached(path, {"digests": array, "features": np.stack([*cached.values()])})
    return np.stack([known[digest] for digest in digests])


@torch.inference_mode()
def _embed(
    model: nn.Module,
    pairs: Sequence[Pair],
    ids: Sequence[Sequence[int]],
    image: ImageSettings,
    precision: Precision,
) -> npt.NDArray[np.float32]:
    """Embeddings of ``pairs``, in their order."""
    model.eval()
    device = next(model.parameters()).device
    rows = []
    with (
        Progress(name_part(f"embedding ({precision})"), len(pairs), "pairs") as progress,
        ThreadPoolExecutor(1) as ahead,
        Progress("decoding", len(pairs), "images", summary=False) as decoded,
    ):

        def decode(start: int) -> Future[npt.NDArray[np.uint8]]:
            chunk = pairs[start : start + CHUNK]
            return ahead.submit(decode_images, chunk, image, progress=decoded)

        following = decode(0)
        for chunk in range(0, len(pairs), CHUNK):
            pixels, following = following.result(), decode(chunk + CHUNK)
            for start in range(0, len(pixels), BATCH_SIZE):
                batch = ids[chunk + start : chunk + start + BATCH_SIZE]
                inputs = (*pad_ids(batch), pixels[start : start + BATCH_SIZE])
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    embedded = model.embed(*(torch.from_numpy(a).to(device) for a in inputs))
                rows.append(embedded.float().cpu().numpy())
                progress.update(len(batch))
    return np.concatenate(rows)


def read_cached(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a cached file; empty if it is missing or damaged."""
    try:
        return dict(safetensors.numpy.load_file(path))
    except FileNotFoundError:
        return {}
    except Exception as error:  # safetensors has its own exceptions; any cache file can be rebuilt
        logger.warning("%s is damaged (%s): making it again", path, error)
        return {}


def write_cached(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays to the cache; log a warning if that fails."""
    content = safetensors.numpy.save(arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            part.write_bytes(content)
    except OSError as error:
        remedy = "MMSENT_CACHE names another folder"
        logger.warning("the cache %s can't be written (%s); %s", path, error.strerror, remedy)

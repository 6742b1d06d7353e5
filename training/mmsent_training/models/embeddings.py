"""What a frozen encoder makes of each pair: computed once, kept in a cache beside other caches."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

from mmsent.files.atomic import atomic_path
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import pad_ids
from mmsent_training.data import Pairs, decode_images
from mmsent_training.distributed import broadcast, gather, name_part, processes, rank

BATCH_SIZE = 16
CHUNK = 256  # pairs whose images are decoded together, while the chunk before is encoded

Features = npt.NDArray[np.float32]


def cache_folder() -> Path:
    """Where features are kept: MMSENT_CACHE, else mmsent/ in the user's cache folder."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("MMSENT_CACHE") or f"{user}/mmsent").expanduser()


def fast_precision(device: torch.device) -> str:
    """bf16 where the processor or GPU computes in it, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


def encode_pairs(
    model: nn.Module,
    pairs: Pairs,
    ids: Sequence[Sequence[int]],
    indices: Sequence[int],
    image: ImageSettings,
    *,
    key: dict[str, Any],
    precision: str,
) -> Features:
    """``model.encode`` of some pairs, float32 [indices, features], from the cache where it knows.

    ``key`` identifies the encoder: its weights, tokenizer and whatever else shapes a feature.
    Pairs are known by their contents, so that other lists and other labels find them again.
    Processes that train together divide the pairs; the main one's cache counts.
    Raises InputError that names every image which can't be decoded.
    """
    name = json.dumps(key | {"image": asdict(image), "precision": precision}, sort_keys=True)
    path = cache_folder() / f"features-{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
    main = rank() == 0
    known = _by_digest(read_cached(path)) if main else {}
    missing = [index for index in indices if pairs.digests[index] not in known]
    # One pair for each content, by length: batches then hold little padding.
    unique = {pairs.digests[index]: index for index in missing}
    order = broadcast(sorted(unique.values(), key=lambda index: len(ids[index])))
    if not order:
        print(f"all {len(indices)} pairs are in the cache {path}", file=sys.stderr)
    else:
        found = len(indices) - len(missing)
        print(f"{found} of {len(indices)} pairs are in the cache {path}", file=sys.stderr)
        # Whole batches to each process, so that none is another one than without the others.
        starts = range(rank() * BATCH_SIZE, len(order), processes() * BATCH_SIZE)
        mine = [index for start in starts for index in order[start : start + BATCH_SIZE]]
        rows = [*_encode(model, pairs, ids, mine, image, precision)] if mine else []
        for part, features in gather((mine, rows)):
            known |= {pairs.digests[index]: row for index, row in zip(part, features)}
        if main:
            digests = np.array([np.frombuffer(digest, np.uint8) for digest in known])
            write_cached(path, {"digests": digests, "features": np.stack([*known.values()])})
    # The others know no more than what was encoded now.
    return np.stack(broadcast([known[pairs.digests[index]] for index in indices] if main else []))


@torch.inference_mode()
def _encode(
    model: nn.Module,
    pairs: Pairs,
    ids: Sequence[Sequence[int]],
    order: Sequence[int],
    image: ImageSettings,
    precision: str,
) -> Features:
    """Features of the pairs in ``order``."""
    model.eval()
    device = next(model.parameters()).device
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    rows = []
    with (
        Progress(name_part(f"encoding ({precision})"), len(order), "pairs") as progress,
        ThreadPoolExecutor(1) as ahead,
        Progress("decoding", len(order), "images", summary=False) as decoded,
    ):

        def decode(chunk: Sequence[int]) -> Future[npt.NDArray[np.uint8]]:
            return ahead.submit(decode_images, pairs, chunk, image, progress=decoded)

        following = decode(chunks[0])
        for number, chunk in enumerate(chunks):
            pixels = following.result()
            if number + 1 < len(chunks):
                following = decode(chunks[number + 1])
            for start in range(0, len(chunk), BATCH_SIZE):
                batch = chunk[start : start + BATCH_SIZE]
                input_ids, attention_mask = pad_ids([ids[index] for index in batch])
                inputs = (input_ids, attention_mask, pixels[start : start + BATCH_SIZE])
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    features = model.encode(*(torch.from_numpy(a).to(device) for a in inputs))
                rows.append(features.float().cpu().numpy())
                progress.update(len(batch))
    return np.concatenate(rows)


def _by_digest(cached: dict[str, npt.NDArray[Any]]) -> dict[bytes, Any]:
    """Cached features by their pair's digest."""
    if cached.keys() != {"digests", "features"}:
        return {}
    return {row.tobytes(): one for row, one in zip(cached["digests"], cached["features"])}


def read_cached(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a cached file; none where there is none, or it is damaged."""
    try:
        return dict(safetensors.numpy.load_file(path))
    except FileNotFoundError:
        return {}
    except Exception as error:  # safetensors' own exceptions; whatever it is, it can be made anew
        print(f"{path} is damaged ({error}): making it anew", file=sys.stderr)
        return {}


def write_cached(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Keep arrays in the cache; where that can't be, say so and go on."""
    content = safetensors.numpy.save(arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            part.write_bytes(content)
    except OSError as error:
        print(
            f"the cache {path} can't be written ({error.strerror}); MMSENT_CACHE names another "
            "folder",
            file=sys.stderr,
        )

"""A labelled dataset in memory: every image is decoded once, and kept as uint8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset

from mmsent.dataset import (
    LABELS,
    TRAIN_LIST,
    Row,
    check_files,
    find_duplicates,
    image_file,
    read_list,
    read_text,
)
from mmsent.errors import InputError, Problem, refuse
from mmsent.image import ImageSettings, load_image
from mmsent.machine import available_cores
from mmsent.progress import Progress
from mmsent.text import pad_ids

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pairs:
    """The pairs of a list, in its order.

    ``labels``: int64 [pairs], indices into LABELS. ``pixels``: uint8 [pairs, size, size, 3].
    ``digests``: SHA-256 over a pair's guid, label, text and image file.
    """

    guids: list[str]
    texts: list[str]
    labels: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]
    digests: list[bytes]

    def fingerprint(self, indices: Iterable[int] | None = None) -> str:
        """SHA-256 over some of the pairs (default: all), as a hexadecimal number."""
        chosen = self.digests if indices is None else [self.digests[index] for index in indices]
        return hashlib.sha256(b"".join(chosen)).hexdigest()


def read_rows(folder: Path) -> list[Row]:
    """The rows of train.txt. Raises InputError that names every bad row and file."""
    problems: list[Problem] = []
    listed = list(read_list(folder / TRAIN_LIST, problems, labelled=True))
    problems += find_duplicates(listed, TRAIN_LIST)
    rows = []
    for item in check_files(listed, folder, TRAIN_LIST):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            rows.append(item)
    refuse(problems, "`mmsent check-data` reports on the whole folder")
    return rows


def load_pairs(folder: Path, settings: ImageSettings, rows: list[Row] | None = None) -> Pairs:
    """Read ``rows`` of a dataset folder (default: all of train.txt) into memory.

    Raises InputError that names every bad row and file.
    """
    if rows is None:
        rows = read_rows(folder)
    pixels = np.empty((len(rows), settings.size, settings.size, 3), np.uint8)
    texts = [read_text(folder, row.guid)[0] for row in rows]

    def load(index: int) -> Problem | bytes:
        row = rows[index]
        file = image_file(folder, row.guid)
        try:
            content = Path(file).read_bytes()
            pixels[index] = load_image(content, settings)
        except InputError as error:
            return Problem(TRAIN_LIST, row.line, row.guid, file, str(error))
        progress.update()
        about = f"{row.guid},{row.label},{texts[index]}\n".encode()
        return hashlib.sha256(about + content).digest()

    with (
        Progress("decoding", len(rows), "images") as progress,
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        loaded = list(pool.map(load, range(len(rows))))
    refuse([item for item in loaded if isinstance(item, Problem)], "nothing was trained")
    return Pairs(
        guids=[row.guid for row in rows],
        texts=texts,
        labels=np.array([LABELS.index(str(row.label)) for row in rows], np.int64),
        pixels=pixels,
        digests=[item for item in loaded if isinstance(item, bytes)],
    )


def split(
    labels: npt.NDArray[np.int64] | list[int], *, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the training and of the validation pairs, stratified by label.

    Raises InputError where a label has too few pairs to stand on both sides.
    """
    try:
        train, validation = train_test_split(
            np.arange(len(labels)), test_size=share, random_state=seed, stratify=labels
        )
    except ValueError as error:
        counts = {name: int(np.sum(np.equal(labels, i))) for i, name in enumerate(LABELS)}
        raise InputError(
            f"{TRAIN_LIST} is too small to set {share:.0%} aside for validation ({counts}): {error}"
        ) from None
    return train, validation


class PairDataset(Dataset[dict[str, Any]]):
    """Some of the pairs, encoded, as PyTorch's DataLoader wants them."""

    def __init__(self, pairs: Pairs, ids: list[list[int]], indices: npt.NDArray[np.int64]) -> None:
        self.pairs, self.ids, self.indices = pairs, ids, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        index = int(self.indices[position])
        return {
            "ids": self.ids[index],
            "pixels": self.pairs.pixels[index],
            "label": int(self.pairs.labels[index]),
            "position": position,
        }


def collate(items: list[dict[str, Any]]) -> Batch:
    """One batch: input_ids and attention_mask int64 [batch, longest], pixels uint8 NHWC, labels."""
    input_ids, attention_mask = pad_ids([item["ids"] for item in items])
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
        "pixels": torch.from_numpy(np.stack([item["pixels"] for item in items])),
        "labels": torch.tensor([item["label"] for item in items]),
        "positions": torch.tensor([item["position"] for item in items]),
    }

"""A labelled dataset in memory: every image is decoded at most once, and kept as uint8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmsent.data.dataset import (
    LABELS,
    TRAIN_LIST,
    Row,
    check_files,
    find_duplicates,
    image_of,
    image_place,
    read_list,
    text_of,
    training_list,
)
from mmsent.errors import InputError, Problem, refuse
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import pad_ids


@dataclass(frozen=True)
class Pairs:
    """The pairs of a list, in its order; their images are still encoded, or in their files.

    ``labels``: int64 [pairs], indices into LABELS. ``digests``: SHA-256 over a pair's text and
    image file.
    """

    folder: Path
    rows: list[Row]
    texts: list[str]
    labels: npt.NDArray[np.int64]
    digests: list[bytes]
    list_name: str = TRAIN_LIST

    def fingerprint(self, indices: Iterable[int] | None = None) -> str:
        """SHA-256 over guids, labels and contents of some pairs (default: all), hexadecimal."""
        digest = hashlib.sha256()
        for index in range(len(self.rows)) if indices is None else indices:
            row = self.rows[index]
            digest.update(f"{row.guid},{row.label}\n".encode() + self.digests[index])
        return digest.hexdigest()


def read_rows(data: Path) -> list[Row]:
    """The rows of train.txt, or of a Parquet file with their texts and encoded images.

    Raises InputError that names every bad row and file.
    """
    path, folder = training_list(data)
    problems: list[Problem] = []
    listed = list(read_list(path, problems, labelled=True))
    problems += find_duplicates(listed, path.name)
    rows = []
    for item in check_files(listed, folder, path.name):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            rows.append(item)
    refuse(problems, "`mmsent check-data` reports on the whole folder")
    return rows


def read_pairs(data: Path, rows: list[Row] | None = None) -> Pairs:
    """Read the texts, and the digests of the images, of ``rows`` (default: all of read_rows).

    Raises InputError that names every bad row and file.
    """
    path, folder = training_list(data)
    if rows is None:
        rows = read_rows(data)
    texts = [text_of(folder, row)[0] for row in rows]

    def digest(row: Row, text: str) -> bytes:
        try:
            image = image_of(folder, row)
        except InputError as error:
            place = image_place(folder, row, path.name)
            raise InputError(f"{place}: {error}") from None
        return hashlib.sha256(len(text).to_bytes(8, "big") + text.encode() + image).digest()

    with ThreadPoolExecutor(available_cores()) as pool:
        digests = list(pool.map(digest, rows, texts))
    labels = np.array([LABELS.index(str(row.label)) for row in rows], np.int64)
    return Pairs(folder, rows, texts, labels, digests, path.name)


def decode_images(
    pairs: Pairs, indices: Sequence[int], settings: ImageSettings, *, progress: Progress
) -> npt.NDArray[np.uint8]:
    """Decode the images of some pairs: uint8 [indices, size, size, 3], in the order of ``indices``.

    Raises InputError that names every image which can't be decoded.
    """
    pixels = np.empty((len(indices), settings.size, settings.size, 3), np.uint8)

    def decode(position: int) -> Problem | None:
        row = pairs.rows[indices[position]]
        try:
            pixels[position] = load_image(image_of(pairs.folder, row), settings)
        except InputError as error:
            file = image_place(pairs.folder, row, pairs.list_name)
            return Problem(pairs.list_name, row.line, row.guid, file, str(error))
        progress.update()
        return None

    with ThreadPoolExecutor(available_cores()) as pool:
        problems = list(pool.map(decode, range(len(indices))))
    refuse([problem for problem in problems if problem], "nothing was trained")
    return pixels


def split(
    labels: npt.NDArray[np.int64] | list[int], *, share: float, seed: int
) -> tuple[list[int], list[int]]:
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
    return train.tolist(), validation.tolist()


@dataclass(frozen=True)
class PairDataset:
    """Encoded pairs, of which any rows make a batch.

    ``ids``: of each pair; ``pixels``: uint8 [pairs, height, width, 3].
    """

    ids: Sequence[Sequence[int]]
    pixels: npt.NDArray[np.uint8]

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The inputs of ``rows``, int64, as a model's forward takes them; ids are padded."""
        input_ids, attention_mask = pad_ids([self.ids[row] for row in rows.tolist()])
        arrays = (input_ids, attention_mask, self.pixels[rows.numpy()])
        return tuple(torch.from_numpy(array) for array in arrays)


@dataclass(frozen=True)
class FeatureDataset:
    """What a frozen encoder made of pairs: float32 [pairs, features]."""

    features: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The inputs of ``rows`` for a model's head."""
        return (self.features[rows],)


@dataclass(frozen=True)
class StatesDataset:
    """What frozen encoders made of texts, [tokens, width] each, and of images, [pairs, ...]."""

    states: Sequence[Tensor]
    images: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The inputs of ``rows`` for a model's head; states are padded, and float32."""
        chosen = [self.states[row] for row in rows.tolist()]
        lengths = torch.tensor([len(item) for item in chosen])
        states = pad_sequence(chosen, batch_first=True).float()
        mask = (torch.arange(states.shape[1]) < lengths.unsqueeze(1)).long()
        return states, mask, self.images[rows]

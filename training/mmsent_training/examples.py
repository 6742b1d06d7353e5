"""Labelled pairs in memory: read, identified by their contents, split and decoded."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from mmsent.data.labels import label_faults
from mmsent.data.pair import Pair
from mmsent.data.training import TrainingData
from mmsent.errors import InputError, Problem, refuse
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Labelled pairs; their images are still encoded, and may be in files.

    ``labels``: int64 [pairs], indices into ``label_names``. ``digests``: SHA-256 over a pair's
    text and image file; ``image_digests``: over the image file alone, b"" if there is none.
    Missing parts are empty. For a model of one modality, pairs lack the other part.
    """

    pairs: Sequence[Pair]
    texts: Sequence[str]
    labels: Labels
    label_names: tuple[str, ...]
    digests: Sequence[bytes]
    image_digests: Sequence[bytes]

    def fingerprint(self, indices: Iterable[int] | None = None) -> str:
        """SHA-256 over guids, labels and contents of some pairs (default: all), hexadecimal."""
        digest = hashlib.sha256()
        for index in range(len(self.pairs)) if indices is None else indices:
            pair = self.pairs[index]
            digest.update(f"{pair.guid},{pair.label}\n".encode() + self.digests[index])
        return digest.hexdigest()


def index_labels(pairs: Iterable[Pair], label_names: Sequence[str]) -> Labels:
    """The labels of some labelled pairs as indices into ``label_names``: int64 [pairs]."""
    return np.array([label_names.index(str(pair.label)) for pair in pairs], np.int64)


def read_examples(pairs: Sequence[Pair], label_names: tuple[str, ...]) -> Examples:
    """Read the texts of labelled ``pairs``, and the digests of their images.

    Raises InputError that names every text or image that can't be read.
    """

    def digest(pair: Pair, text: str) -> tuple[bytes, bytes] | Problem:
        image = pair.attempt("image", lambda: b"" if pair.lacks("image") else pair.read("image"))
        if isinstance(image, Problem):
            return image
        both = hashlib.sha256(len(text).to_bytes(8, "big") + text.encode() + image).digest()
        return both, image and hashlib.sha256(image).digest()

    texts = [pair.read_text() for pair in pairs]
    with ThreadPoolExecutor(available_cores()) as pool:
        found = list(pool.map(digest, pairs, texts))
    refuse([item for item in found if isinstance(item, Problem)], "nothing was trained")
    digests = [item for item in found if not isinstance(item, Problem)]
    both, images = [one for one, _ in digests], [other for _, other in digests]
    return Examples(pairs, texts, index_labels(pairs, label_names), label_names, both, images)


def decode_images(
    pairs: Sequence[Pair], settings: ImageSettings, *, progress: Progress
) -> npt.NDArray[np.uint8]:
    """Decode the images of ``pairs``: uint8 [pairs, size, size, 3], grey for missing ones.

    Raises InputError that names every image that can't be decoded.
    """
    pixels = np.empty((len(pairs), settings.size, settings.size, 3), np.uint8)

    def decode(row: int, pair: Pair) -> Problem | None:
        image = pair.attempt("image", lambda: pair.load_image(settings))
        if isinstance(image, Problem):
            return image
        pixels[row] = image
        if not pair.lacks("image"):
            progress.update()
        return None

    with ThreadPoolExecutor(available_cores()) as pool:
        problems = list(pool.map(decode, range(len(pairs)), pairs))
    refuse([problem for problem in problems if problem], "nothing was trained")
    return pixels


def divide(
    data: TrainingData, *, fraction: float, seed: int
) -> tuple[list[Pair], list[int], list[int]]:
    """All pairs for training, and the indices of the training and validation pairs.

    Raises InputError like `split`, which divides them if the data does not.
    """
    if data.validation is None:
        labels = index_labels(data.train, data.labels)
        return [*data.train], *split(labels, data.labels, fraction=fraction, seed=seed)
    pairs, border = [*data.train, *data.validation], len(data.train)
    return pairs, [*range(border)], [*range(border, len(pairs))]


def split(
    labels: Labels, label_names: Sequence[str], *, fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation pairs, stratified by label.

    ``labels``: int64 [pairs], indices into ``label_names``; ``fraction``: of validation pairs.
    Raises InputError if a label has too few pairs for both sides.
    """
    counts = dict(zip(label_names, np.bincount(labels, minlength=len(label_names)).tolist()))
    if faults := label_faults(counts, label_names, fraction=fraction):
        raise InputError("\n".join(("the labels can't be trained on:", *faults)))
    train, validation = train_test_split(
        np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels
    )
    return train.tolist(), validation.tolist()

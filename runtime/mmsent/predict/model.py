"""A bundle as a Python object: text and image in, label and probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast, overload

import numpy as np
import numpy.typing as npt

from mmsent.bundle.info import OUTPUTS
from mmsent.bundle.session import open_bundle
from mmsent.errors import InputError, MmsentError
from mmsent.files.machine import available_cores
from mmsent.inputs.image import MISSING, ImageSource, load_image
from mmsent.inputs.text import encode_texts, pad_ids

BATCH_SIZE = 8
_UNEQUAL = "text and image must both be single or be lists of the same length"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label and the probability of each; they add up to 1."""

    label: str
    probabilities: dict[str, float]


class SentimentModel:
    """Predicts from a bundle. Safe to share between threads."""

    def __init__(
        self,
        path: str | os.PathLike[str] = "model.onnx",
        *,
        threads: int | None = None,
        device: str = "auto",
    ) -> None:
        """Open the bundle at ``path``; compute on ``threads`` threads (default: all cores).

        ``device``: "cpu", "cuda", or "auto" for CUDA where ONNX Runtime has it and it works.
        Raises InputError where the file is missing or no bundle, or CUDA does not work.
        """
        self.threads = threads or available_cores()
        self._bundle = open_bundle(Path(path), threads=self.threads, device=device)
        self.info = self._bundle.info
        self.labels = self.info.labels

    @property
    def identity(self) -> str:
        """What tells this bundle from others: the SHA-256 that it carries, "" if it has none."""
        return self._bundle.seal

    @overload
    def predict(self, text: str | None = None, image: ImageSource | None = None) -> Prediction: ...
    @overload
    def predict(
        self, text: list[str] | list[str | None], image: Sequence[ImageSource | None]
    ) -> list[Prediction]: ...
    def predict(
        self,
        text: str | list[str] | list[str | None] | None = None,
        image: ImageSource | Sequence[ImageSource | None] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one pair, or as many pairs as the two lists hold, in their order.

        ``image`` is a path, a file's bytes, a Pillow image or an array (uint8, [height, width, 3]).
        None stands for a text or an image that a pair lacks: see BundleInfo.optional.
        Raises InputError that names every image which can't be decoded, and where a pair lacks what
        this model needs.
        """
        if text is None or isinstance(text, str):
            if isinstance(image, list | tuple):
                raise InputError(_UNEQUAL)
            return self.predict([text], [cast(ImageSource | None, image)])[0]
        if not isinstance(image, list | tuple) or len(image) != len(text):
            raise InputError(_UNEQUAL)
        for name, items in (("text", text), ("image", image)):
            if name not in self.info.optional and any(item is None for item in items):
                raise InputError(
                    f"a pair lacks its {name}, and this {self.info.model} model was not trained "
                    "for that: give every pair both"
                )
        if any(one is None and other is None for one, other in zip(text, image)):
            raise InputError("a pair lacks both text and image: there is nothing to predict from")
        ids = self.encode([item or "" for item in text])
        by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        predictions: dict[int, Prediction] = {}
        faults: dict[int, InputError] = {}

        def load(index: int) -> npt.NDArray[np.uint8] | InputError:
            source = image[index]
            if source is None:
                return np.full((self.info.image.size, self.info.image.size, 3), MISSING, np.uint8)
            try:
                return load_image(source, self.info.image)
            except InputError as error:
                return error

        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(by_length), BATCH_SIZE):
                batch = by_length[start : start + BATCH_SIZE]
                loaded = list(pool.map(load, batch)) if len(batch) > 1 else [load(batch[0])]
                pixels = [item for item in loaded if not isinstance(item, InputError)]
                if len(pixels) < len(batch):
                    faults |= {i: x for i, x in zip(batch, loaded) if isinstance(x, InputError)}
                if not faults:
                    _, probabilities = self.run([ids[i] for i in batch], np.stack(pixels))
                    predictions |= dict(zip(batch, self.to_predictions(probabilities)))
        if faults:
            names = (f"  {_name(image[i], i)}: {fault}" for i, fault in sorted(faults.items()))
            raise InputError("images that can't be used:\n" + "\n".join(names))
        return [predictions[index] for index in range(len(ids))]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut to the model's maximum length."""
        return encode_texts(self._bundle.tokenizer, texts)

    def run(
        self, ids: Sequence[Sequence[int]], pixels: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run the session on one batch of encoded texts and pixels, uint8 [batch, size, size, 3].

        Returns logits and probabilities, float32 [batch, labels].
        Raises MmsentError where the bundle's graph fails, or gives another shape.
        """
        input_ids, attention_mask = pad_ids(ids)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask, "pixels": pixels}
        try:
            logits, probabilities = self._bundle.session.run(OUTPUTS, feed)
        except Exception as error:  # ONNX Runtime's exceptions share no other ancestor
            raise MmsentError(f"the bundle's graph fails ({error}); export the run again") from None
        if probabilities.shape != (len(ids), len(self.labels)):
            raise MmsentError(
                f"the bundle's graph gives probabilities of shape {probabilities.shape} for "
                f"{len(ids)} pairs and {len(self.labels)} labels; export the run again"
            )
        return logits, probabilities

    def to_predictions(self, probabilities: npt.NDArray[np.float32]) -> list[Prediction]:
        """Name the columns of ``probabilities``, float32 [batch, labels].

        Raises MmsentError where they are no numbers.
        """
        if not np.isfinite(probabilities).all():
            raise MmsentError("the bundle gives no numbers, but NaN; `mmsent doctor` checks it")
        return [
            Prediction(self.labels[int(row.argmax())], dict(zip(self.labels, row.tolist())))
            for row in probabilities
        ]


def _name(image: ImageSource | None, index: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {index}"

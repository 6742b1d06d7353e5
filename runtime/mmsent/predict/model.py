"""A bundle as a Python object: text and image in, label and probabilities out."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import cast, overload

import numpy as np

from mmsent.bundle.info import OUTPUTS, Device
from mmsent.bundle.session import open_bundle
from mmsent.data.pair import Pair
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.files.machine import available_cores
from mmsent.inputs.image import MISSING, ImageSource, load_image
from mmsent.inputs.text import pad_ids, tokenize
from mmsent.predict.batches import (
    Batch,
    Floats,
    Outcome,
    Pixels,
    Prediction,
    predict_batch,
    predict_window,
)

__all__ = ["Prediction", "SentimentModel"]

_UNEQUAL = "text and image must both be single or be lists of the same length"


class SentimentModel:
    """Predicts from a bundle. Safe to share between threads.

    ``identity`` distinguishes bundles: the SHA-256 that it carries, "" if it has none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "model.onnx",
        *,
        threads: int | None = None,
        device: Device = "auto",
    ) -> None:
        """Open the bundle at ``path``; compute on ``threads`` threads (default: all cores).

        ``device``: "cpu", "cuda", or "auto" for CUDA where ONNX Runtime has it and it works.
        Raises InputError where the file is missing or no bundle, or CUDA does not work.
        """
        self.threads = threads or available_cores()
        self._bundle = open_bundle(Path(path), threads=self.threads, device=device)
        self.info = self._bundle.info
        self.labels = self.info.labels
        self.identity = self._bundle.seal

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
        broken = Event()

        def load(index: int) -> Pixels | Problem:
            source = image[index]
            if source is None:
                return np.full((self.info.image.size, self.info.image.size, 3), MISSING, np.uint8)
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else f"image {index}"
            pair = Pair("", None, name, 0, None, None)
            return pair.attempt("image", lambda: load_image(source, self.info.image))

        def predict(batch: Batch) -> Sequence[Outcome | None]:
            load_all = pool.map if len(batch.indices) > 1 else map
            return predict_batch(self, batch, load_all(load, batch.indices), broken=broken)

        with ThreadPoolExecutor(self.threads) as pool:
            outcomes = list(predict_window(self, [item or "" for item in text], predict))
        if broken.is_set():
            lines = (f"  {outcome}" for outcome in outcomes if isinstance(outcome, Problem))
            raise InputError("images that can't be used:\n" + "\n".join(lines))
        return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut to the model's maximum length."""
        return tokenize(self._bundle.tokenizer, texts)

    def run(self, ids: Sequence[Sequence[int]], pixels: Pixels) -> tuple[Floats, Floats]:
        """Run the session on one batch of tokenized texts and pixels, uint8 [batch, size, size, 3].

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

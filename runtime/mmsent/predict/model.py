"""A bundle as a Python object: text and image in, label and probabilities out."""

import operator
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Lock
from typing import IO, Any, get_args, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmsent.bundle.info import EMBEDDING, OUTPUTS, BundleInfo, Device
from mmsent.bundle.session import Bundle, open_bundle
from mmsent.bundle.structure import MAX_BYTES
from mmsent.data.pair import PARTS, File, Pair
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.files.machine import available_cores
from mmsent.files.shortage import raise_shortage
from mmsent.inputs.coverage import Coverage
from mmsent.inputs.image import ImageSettings, ImageSource, load_image, load_view, missing_image
from mmsent.inputs.sources import (
    AnyImage,
    Column,
    Texts,
    Upload,
    check_text,
    has_state,
    image_source,
    pair_up,
    read_binary,
)
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
from mmsent.predict.explain.explanation import Explanation
from mmsent.predict.explain.occlusion import BUDGET, GRID, explain_pair
from mmsent.predict.missing import missing_fault

__all__ = ["Explanation", "Prediction", "SentimentModel"]

MAX_THREADS = 1024
SHOWN = 20  # rows in a message
VIEW = 512  # the longer edge, in pixels, of an explanation's picture


class SentimentModel:
    """Predicts with a bundle. Thread-safe.

    ``identity`` distinguishes bundles: the SHA-256 stored in the bundle, "" if it has none.
    ``features``: the size of an embedding, None if the bundle gives none: see `embed`.

    A model can be copied and pickled, for example to send it to other processes, which open the
    bundle again, from its path if it has one. A child of os.fork also opens it again, at its first
    use; `mmsent.bundle.session` explains why.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] = "model.onnx",
        *,
        threads: int | None = None,
        device: Device = "auto",
    ) -> None:
        """Open the bundle at ``path`` and compute on ``threads`` threads (default: all cores).

        Instead of a path, it may be a bundle's bytes or a binary file, which is read completely.
        ``device``: "cpu", "cuda", or "auto" for CUDA if ONNX Runtime supports it and it works.
        Raises InputError if the file is missing or not a bundle, or if CUDA is requested and does
        not work.
        """
        if device not in get_args(Device):
            raise InputError(f"device must be auto, cpu or cuda, not {device!r}")
        self.threads = available_cores() if threads is None else _threads(threads)
        self._device = device
        source = _bundle_source(path)
        self._bundle = open_bundle(source, threads=self.threads, device=device)
        # the working folder may have changed when the bundle is opened again
        self._source = source if isinstance(source, bytes) else source.absolute()
        self.info = self._bundle.info
        self.labels = self.info.labels
        self.identity = self._bundle.seal
        self.features = self._bundle.features

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: everything but the open session."""
        return {name: value for name, value in vars(self).items() if name != "_bundle"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the bundle again. Raises InputError if it is missing or has been replaced."""
        vars(self).update(state)
        self._bundle = self._open_again()

    def _open_again(self) -> Bundle:
        bundle = open_bundle(self._source, threads=self.threads, device=self._device)
        if bundle.seal != self.identity:
            path = os.fsdecode(self._source)
            raise InputError(f"{path} has been replaced by another bundle since it was opened")
        return bundle

    def _opened(self) -> Bundle:
        """The bundle, opened by this process."""
        if self._bundle.process != os.getpid():
            if self._bundle.on_gpu:
                raise MmsentError(
                    "CUDA does not work in a process that was forked after the bundle was opened; "
                    'start processes by "spawn", or open the bundle with device="cpu"'
                )
            self._bundle = self._open_again()
        return self._bundle

    @overload
    def predict(self, text: str | None = None, image: AnyImage | None = None) -> Prediction: ...
    @overload
    def predict(self, text: str, image: tuple[Upload]) -> Prediction: ...
    @overload
    def predict(
        self,
        text: Texts,
        image: Sequence[AnyImage | None] | Column | npt.NDArray[Any] | None = None,
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self, text: None = None, *, image: list[Any] | tuple[Any, ...] | Column
    ) -> list[Prediction]: ...
    def predict(self, text: Any = None, image: Any = None) -> Prediction | list[Prediction]:
        """Predict one pair or, if both arguments are lists, as many pairs, in order.

        ``image`` is a path, a file's bytes, a binary file, a Pillow image, an array (uint8,
        [height, width, 3]), an upload of ipywidgets' FileUpload, or a mapping with "bytes" or
        "path", as Hugging Face's datasets store images. A list may also be a tuple, a
        pandas Series or an array; of images, uint8 [n, height, width, 3].
        None, NaN and pandas.NA stand for a missing text or image: see BundleInfo.optional. The end
        of a very long text is ignored: see `mmsent.inputs.text.MAX_TOKENIZED_BYTES`.
        Raises InputError that names every invalid text and image by its row, from 0, and if a pair
        lacks a part that this model requires.

        For a table ``posts``, this makes a pandas.DataFrame of predictions:

            several = model.predict(posts["text"], posts["image"])
            pd.DataFrame([{"label": p.label, **p.probabilities} for p in several], posts.index)
        """
        predictions, several = self._predict(text, image)
        return predictions if several else predictions[0]

    def embed(self, text: Any = None, image: Any = None) -> Floats:
        """The embeddings of one pair, or of all pairs in the two lists: float32 [n, features].

        An embedding is the features of text and image that the model's classifier reads, so that
        pairs of similar content have a small distance. The arguments are those of `predict`.
        Raises InputError as `predict` does, and if the bundle gives no embeddings.
        """
        self.check_embeddings()
        predictions, _ = self._predict(text, image, embeddings=True)
        rows = [prediction.embedding for prediction in predictions]
        return np.array(rows, np.float32).reshape(len(rows), self.features or 0)

    def check_embeddings(self) -> None:
        """Raises InputError if the bundle gives no embeddings."""
        if self.features is None:
            raise InputError(
                "the bundle gives no embeddings; export the run again with "
                "`mmsent-export onnx --embeddings`"
            )

    def _predict(
        self, text: Any, image: Any, *, embeddings: bool = False
    ) -> tuple[list[Prediction], bool]:
        """The predictions, and whether lists were given, even of one pair."""
        texts, images, several = pair_up(text, image)
        _check_pairs(texts, images, several, self.info)
        broken = Event()
        locks = {id(image): Lock() for image in images if has_state(image)}

        def load(index: int) -> Pixels | Problem:
            image = images[index]
            if image is None:
                return missing_image(self.info.image)
            with locks.get(id(image)) or nullcontext():
                return _row(index, image, several).attempt(
                    "image", lambda: load_image(image_source(image), self.info.image)
                )

        def predict(batch: Batch) -> Sequence[Outcome | None]:
            load_all = pool.map if len(batch.indices) > 1 else map
            pixels = load_all(load, batch.indices)
            return predict_batch(self, batch, pixels, broken=broken, embeddings=embeddings)

        with ThreadPoolExecutor(self.threads) as pool:
            outcomes = list(predict_window(self, [item or "" for item in texts], predict))
        if broken.is_set():
            lines = (f"  {outcome}" for outcome in outcomes if isinstance(outcome, Problem))
            raise InputError("images that can't be used:\n" + "\n".join(lines))
        return [outcome for outcome in outcomes if isinstance(outcome, Prediction)], several

    def explain(
        self,
        text: str | None = None,
        image: AnyImage | None = None,
        *,
        grid: int = GRID,
        budget: int = BUDGET,
    ) -> Explanation:
        """Explain the prediction of one pair: which modality, words and regions moved it.

        The pair is predicted again, at most ``budget`` times, without words and with hidden patches
        of the image, in a grid of ``grid`` x ``grid``. See `Explanation`, and
        `mmsent.predict.explain.occlusion` for the algorithm.
        Raises InputError like `predict`, and if ``grid`` or ``budget`` is out of range.
        """
        texts, images, several = pair_up(text, image)
        if several:
            raise InputError("explain takes one pair, not a list")
        _check_pairs(texts, images, several, self.info)
        pixels, view, source = None, None, images[0]
        if source is not None:
            row = _row(0, source, several)
            loaded = row.attempt("image", lambda: _load_both(image_source(source), self.info.image))
            if isinstance(loaded, Problem):
                raise InputError(f"images that can't be used:\n  {loaded}")
            pixels, view = loaded
        return explain_pair(
            self,
            texts[0] or "",
            pixels,
            image=self.info.image,
            optional=self.info.optional,
            grid=grid,
            budget=budget,
            view=view,
        )

    def coverage(self) -> Coverage:
        """A count of known and unknown tokens, at zero."""
        return Coverage(self._opened().tokenizer)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, truncated to the model's maximum length."""
        return tokenize(self._opened().tokenizer, texts)

    def run(self, ids: Sequence[Sequence[int]], pixels: Pixels) -> tuple[Floats, Floats]:
        """Run the session on one batch of tokenized texts and pixels, uint8 [batch, size, size, 3].

        Returns logits and probabilities, float32 [batch, labels].
        Raises MmsentError if the bundle's graph fails, or returns another shape.
        """
        logits, probabilities = self._run(OUTPUTS, ids, pixels)
        return logits, probabilities

    def run_with_embeddings(
        self, ids: Sequence[Sequence[int]], pixels: Pixels
    ) -> tuple[Floats, Floats, Floats]:
        """The same with the embeddings, float32 [batch, features], if the bundle gives them."""
        logits, probabilities, embeddings = self._run((*OUTPUTS, EMBEDDING), ids, pixels)
        return logits, probabilities, embeddings

    def _run(
        self, names: Sequence[str], ids: Sequence[Sequence[int]], pixels: Pixels
    ) -> list[Floats]:
        """The outputs ``names`` of one batch."""
        input_ids, attention_mask = pad_ids(ids)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask, "pixels": pixels}
        try:
            outputs: list[Floats] = self._opened().session.run(names, feed)
        except Exception as error:  # ONNX Runtime's exceptions have no closer common base class
            raise_shortage(error)
            raise MmsentError(f"the bundle's graph fails ({error}); export the run again") from None
        for name, values in zip(names, outputs):
            width = self.features if name == EMBEDDING else len(self.labels)
            if values.shape != (len(ids), width):
                raise MmsentError(
                    f"the bundle returns {name} of shape {values.shape} instead of "
                    f"{(len(ids), width)}; export the run again"
                )
        return outputs


def _threads(value: Any) -> int:
    try:
        threads = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        threads = 0
    if not 1 <= threads <= MAX_THREADS:
        raise InputError(
            f"threads must be a whole number from 1 to {MAX_THREADS}, or None for all cores, "
            f"not {value!r}"
        )
    return threads


def _bundle_source(path: Any) -> Path | bytes:
    if isinstance(path, str | os.PathLike):
        return Path(path)
    if isinstance(path, bytes | bytearray | memoryview):
        return bytes(path)
    if hasattr(path, "read"):
        return read_binary(path, "the bundle", limit=MAX_BYTES)
    raise InputError(
        f"the bundle must be a path, bytes or a binary file, not {type(path).__name__}"
    )


def _check_pairs(
    texts: Sequence[Any], images: Sequence[Any], several: bool, info: BundleInfo
) -> None:
    """Raise InputError that names every row with an invalid text, or without a required part.

    None is a missing text.
    """
    faults: list[str] = []
    refused: dict[str, list[int]] = {}
    for index, parts in enumerate(zip(texts, images)):
        try:
            if parts[0] is not None:
                check_text(parts[0])
        except InputError as error:
            faults.append(f"  row {index}: {error}" if several else f"  {error}")
        lacking = [name for name, part in zip(PARTS, parts) if part is None]
        if fault := missing_fault(lacking, info):
            refused.setdefault(fault, []).append(index)
    if faults:
        raise InputError("texts that can't be used:\n" + "\n".join(faults))
    if refused:
        lines = (f"{_rows(rows)}: {fault}" if several else fault for fault, rows in refused.items())
        raise InputError("\n".join(lines))


def _rows(indices: Sequence[int]) -> str:
    """The rows in words, at most SHOWN of them by number."""
    numbers = ", ".join(map(str, indices[:SHOWN]))
    others = f" and {len(indices) - SHOWN} others" if len(indices) > SHOWN else ""
    return f"{'row' if len(indices) == 1 else 'rows'} {numbers}{others}"


def _load_both(source: ImageSource, settings: ImageSettings) -> tuple[Pixels, Image.Image]:
    return load_image(source, settings), load_view(source, settings, VIEW)


def _row(index: int, image: Any, several: bool) -> Pair:
    """The name of an image in messages: its row, and its path if it has one."""
    path = os.fsdecode(image) if isinstance(image, str | os.PathLike) else ""
    name = f"row {index}" if several else path or "image"
    return Pair("", None, name, 0, None, File(path, Path()) if path else None)

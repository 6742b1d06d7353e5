"""The Python types of texts, images and missing values that predictions accept."""

import os
from collections.abc import Mapping, Set
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmsent.errors import InputError
from mmsent.files.bounded import MAX_IMAGE_BYTES, within
from mmsent.files.shortage import raise_shortage
from mmsent.inputs.image import ImageSource

Upload = Mapping[str, Any]
"""A file uploaded to a notebook, as in ipywidgets' FileUpload: "content" has its bytes.

Or an image of Hugging Face's datasets that is not decoded: "bytes", or else "path".
"""

AnyImage = ImageSource | bytearray | memoryview | IO[bytes] | Upload


class Column(Protocol):
    """A column of a table: a Series of pandas or Polars."""

    def __len__(self) -> int: ...
    def to_list(self) -> list[Any]: ...


Texts = list[str] | list[str | None] | tuple[str | None, ...] | Column | npt.NDArray[Any]

_UNEQUAL = "text and image must both be single or be lists of the same length"


def pair_up(text: Any, image: Any) -> tuple[list[Any], list[Any], bool]:
    """Texts and images in two lists, None for a missing one; and whether there are several pairs.

    Several values are in anything with a length and an order, such as a list, a tuple, a Series or
    an array ([n] of texts or paths, [n, height, width, 3] of images). If one argument is None, that
    part is missing in each pair. A text and a tuple with one upload are a single pair.
    Raises InputError if there are not as many texts as images.
    """
    texts, images = _items(text), _items(image)
    if isinstance(text, str) and _is_one_upload(image):
        image, images = image[0], None
    if texts is None and images is None:
        return [_or_none(text)], [_or_none(image)], False
    if texts is None and _is_missing(text) and images is not None:
        if isinstance(image, np.ndarray):
            raise InputError(
                "an array of several images requires as many texts; or pass list(array)"
            )
        texts = [None] * len(images)
    if images is None and _is_missing(image) and texts is not None:
        images = [None] * len(texts)
    if texts is None or images is None or len(texts) != len(images):
        raise InputError(_UNEQUAL)
    return [*map(_or_none, texts)], [*map(_or_none, images)], True


def _items(value: Any) -> list[Any] | None:
    """The elements of a sequence; None if ``value`` is a single text or image."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim in (1, 4) else None
    single = (str, bytes, bytearray, memoryview, Mapping, Set, Image.Image, os.PathLike)
    if isinstance(value, single) or hasattr(value, "read"):
        return None
    if not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return None
    if getattr(value, "ndim", 1) != 1:
        raise InputError(f"a {type(value).__name__} is not a list; pass one of its columns")
    return list(value)


def _is_one_upload(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], Mapping)


def _is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _or_none(value: Any) -> Any:
    return None if _is_missing(value) else value


def check_text(value: object) -> None:
    """Raise InputError with the reason if ``value`` is not a text."""
    if not isinstance(value, str):
        raise InputError(
            f"the text must be a str, or None if it is missing, not {type(value).__name__}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        character = value[error.start]
        raise InputError(f"the text contains {character!a}, which is not a character") from None


def image_source(value: Any) -> ImageSource:
    """An image as `load_image` takes it. Raises InputError if it is not an image or can't be read.

    The content of an upload; a binary file is read from its start, at most MAX_IMAGE_BYTES.
    """
    if isinstance(value, str | os.PathLike | bytes | Image.Image | np.ndarray):
        return value
    if isinstance(value, Mapping):
        if value.get("bytes") is None and isinstance(value.get("path"), str):
            return str(value["path"])
        value = value.get("content", value.get("bytes", value))
    if isinstance(value, bytes | bytearray | memoryview):
        return within(bytes(value), "the image", limit=MAX_IMAGE_BYTES)
    if hasattr(value, "read"):
        return read_binary(value, "the image", limit=MAX_IMAGE_BYTES)
    raise InputError(
        f"the image must be a path, a file's bytes, a binary file, a Pillow image or an array, "
        f"or None if it is missing, not {type(value).__name__}"
    )


def read_binary(file: IO[bytes], what: str, *, limit: int) -> bytes:
    """The content of an open file, from its start if it can seek.

    Raises InputError if it has more than ``limit`` bytes, is a text file, or can't be read.
    """
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise_shortage(error)
        raise InputError(f"{what} can't be read ({error})") from None
    if not isinstance(content, bytes):
        raise InputError(f"{what} can't be read from a text file; open it with mode 'rb'")
    return within(content, what, limit=limit)


def has_state(value: object) -> bool:
    """Whether reading the image changes ``value``, so that only one thread may do so at a time."""
    return hasattr(value, "read") or isinstance(value, Image.Image)

"""Images: from a file to the pixels that a model sees. Training and inference share this code."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmsent.errors import InputError, MmsentError
from mmsent.files.bounded import MAX_IMAGE_BYTES, read_file
from mmsent.files.shortage import raise_shortage
from mmsent.inputs.decoding import MAX_PIXELS, decode_upright, open_image

ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]

MAX_SIZE = 1024
"""The largest image size of a model, in pixels."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif",
)  # fmt: skip
"""The suffixes of image files; the content decides the format, not the name."""

MISSING = 127
"""The value of every pixel of a missing image: grey."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class ImageSettings:
    """How an image becomes ``size`` x ``size`` pixels; part of every bundle.

    ``resize``: "stretch" ignores the aspect ratio; "crop" scales the shorter edge to ``size`` and
    crops the centre, like CLIP's preprocessing. ``filter``: Pillow's resampling filter.
    """

    size: int = 224
    resize: str = "stretch"
    filter: str = "bilinear"

    def __post_init__(self) -> None:
        if self.resize not in ("stretch", "crop") or self.filter not in _FILTERS:
            raise InputError(f"unknown image settings {self}; a newer mmsent may support them")
        if type(self.size) is not int or not 1 <= self.size <= MAX_SIZE:
            raise InputError(f"the image size must be 1 to {MAX_SIZE}, not {self.size!r}")


def load_image(source: ImageSource, settings: ImageSettings) -> npt.NDArray[np.uint8]:
    """Decode an image of any format and mode to RGB pixels, uint8 [size, size, 3].

    ``source`` is a path, a file's bytes, a Pillow image or an array (uint8, [height, width] or
    [height, width, 3 or 4]). Raises InputError with the reason if it can't be decoded completely.
    """
    return np.asarray(_decode(source, lambda image: _square(image, settings)))


def load_view(source: ImageSource, settings: ImageSettings, edge: int) -> Image.Image:
    """The part of an image that a model sees, for people: RGB, at most ``edge`` pixels long.

    If ``settings`` crop, it is the centre. Raises like `load_image`.
    """

    def view(image: Image.Image) -> Image.Image:
        if settings.resize == "crop":
            shorter = min(image.size)
            left, top = ((length - shorter) // 2 for length in image.size)
            image = image.crop((left, top, left + shorter, top + shorter))
        scale = min(1.0, edge / max(image.size))
        width, height = (max(1, round(length * scale)) for length in image.size)
        return _resize(image, (width, height), Image.Resampling.BICUBIC)

    return _decode(source, view)


def _decode(source: ImageSource, use: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The result of ``use`` on the decoded image. Raises InputError if it can't be decoded."""
    try:
        return use(_to_rgb(_open(source)))
    except MmsentError:
        raise
    except Exception as error:  # damaged files can raise anything
        raise_shortage(error)
        reason = str(error) or type(error).__name__
        raise InputError(f"the image can't be decoded ({reason})") from error


def missing_image(settings: ImageSettings) -> npt.NDArray[np.uint8]:
    """The pixels of a missing image, uint8 [size, size, 3]."""
    return np.full((settings.size, settings.size, 3), MISSING, np.uint8)


def _open(source: ImageSource) -> Image.Image:
    """Open ``source``, decode it and make it upright."""
    if isinstance(source, Image.Image):
        image = source
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise InputError(f"an image array must be uint8, not {source.dtype}")
        if source.ndim not in (2, 3) or source.shape[2:] not in ((), (2,), (3,), (4,)):
            raise InputError(
                "an image array must have the shape [height, width] or [height, width, 3 or 4], "
                f"not {[*source.shape]}"
            )
        image = Image.fromarray(source)
    else:
        if not isinstance(source, bytes):
            source = read_file(source, "the image", limit=MAX_IMAGE_BYTES)
        image = open_image(source)
    if 0 in image.size:
        raise InputError(f"the image is empty ({image.width} x {image.height} pixels)")
    return decode_upright(image)


def _square(image: Image.Image, settings: ImageSettings) -> Image.Image:
    """Scale and crop ``image`` to a square.

    "crop" rounds down twice, like transformers' CLIPImageProcessor, for identical pixels.
    """
    size, method = settings.size, _FILTERS[settings.filter]
    if settings.resize == "stretch":
        return _resize(image, (size, size), method)
    shorter = min(image.size)
    width, height = (size if edge == shorter else int(size * edge / shorter) for edge in image.size)
    if width * height > MAX_PIXELS:
        raise InputError(f"the image is too narrow ({image.size[0]} x {image.size[1]}) to crop")
    left, top = (width - size) // 2, (height - size) // 2
    return _resize(image, (width, height), method).crop((left, top, left + size, top + size))


def _resize(image: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    """``image.resize`` as in Pillow 13, on every version of Pillow.

    Pillow rounds to bytes after each of its two passes, one per direction, so their order affects
    the pixels. Pillow 13 shrinks the height first if it shrinks by more than twice as much as the
    width (`ImagingResampleInner` in its Resample.c). Older versions start with the width, unless
    only the height changes.
    """
    width, height = size
    lost = image.height - height
    if lost > 0 and lost > 2 * (image.width - width):
        image = image.resize((image.width, height), method)
    return image if image.size == size else image.resize(size, method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency over white, 16 bits scaled (not clipped) to 8.

    Arrays are changed in place: the largest images take a quarter of a gigabyte.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        values = np.array(image, np.int32)
        np.clip(values, 0, 65535, out=values)
        values += 128
        values //= 257
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        levels = np.nan_to_num(np.array(image), copy=False)
        levels *= 255.0 if levels.max() <= 1.0 else 1.0  # floats are 0 to 1 or 0 to 255
        np.clip(levels, 0, 255, out=levels)
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")

"""Images: from a file to the pixels that a model sees. Training and inference both come here."""

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
"""The largest edge of the square that a model may ask for."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif",
)  # fmt: skip
"""How the names of image files end; the content counts, not the name."""

MISSING = 127
"""The value of every pixel of an image that is missing: grey."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class ImageSettings:
    """How an image becomes ``size`` x ``size`` pixels; part of every bundle.

    ``resize``: "stretch" ignores the aspect ratio; "crop" scales the shorter edge to ``size`` and
    cuts out the centre, as CLIP's preprocessing does. ``filter``: Pillow's resampling filter.
    """

    size: int = 224
    resize: str = "stretch"
    filter: str = "bilinear"

    def __post_init__(self) -> None:
        if self.resize not in ("stretch", "crop") or self.filter not in _FILTERS:
            raise InputError(f"unknown image settings {self}; a newer mmsent may know them")
        if type(self.size) is not int or not 1 <= self.size <= MAX_SIZE:
            raise InputError(f"the image size must be 1 to {MAX_SIZE}, not {self.size!r}")


def load_image(source: ImageSource, settings: ImageSettings) -> npt.NDArray[np.uint8]:
    """Decode an image, whatever its format and mode, to RGB pixels, uint8 [size, size, 3].

    ``source`` is a path, a file's bytes, a Pillow image or an array (uint8, [height, width] or
    [height, width, 3 or 4]). Raises InputError with the reason where it can't be decoded whole.
    """
    return np.asarray(_decode(source, lambda image: _square(image, settings)))


def load_view(source: ImageSource, settings: ImageSettings, edge: int) -> Image.Image:
    """What a model looks at of an image, for people: RGB, its longer edge ``edge`` pixels at most.

    All of the image or, where ``settings`` crop it, the centre. Raises as `load_image` does.
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
    """What ``use`` makes of the decoded image. Raises InputError where it can't be decoded."""
    try:
        return use(_to_rgb(_open(source)))
    except MmsentError:
        raise
    except Exception as error:  # decoders raise whatever a broken file drives them to
        raise_shortage(error)
        reason = str(error) or type(error).__name__
        raise InputError(f"the image can't be decoded ({reason})") from error


def missing_image(settings: ImageSettings) -> npt.NDArray[np.uint8]:
    """The pixels that stand for an image that is missing, uint8 [size, size, 3]."""
    return np.full((settings.size, settings.size, 3), MISSING, np.uint8)


def _open(source: ImageSource) -> Image.Image:
    """Open ``source``, decode it and turn it upright."""
    if isinstance(source, Image.Image):
        image = source
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise InputError(f"an image array must be uint8, not {source.dtype}")
        image = Image.fromarray(source)
    else:
        if not isinstance(source, bytes):
            source = read_file(source, "the image", limit=MAX_IMAGE_BYTES)
        image = open_image(source)
    return decode_upright(image)


def _square(image: Image.Image, settings: ImageSettings) -> Image.Image:
    """Scale and cut ``image`` to a square.

    "crop" rounds as transformers' CLIPImageProcessor does, down both times, so that its pixels and
    these are the same.
    """
    size, method = settings.size, _FILTERS[settings.filter]
    if settings.resize == "stretch":
        return _resize(image, (size, size), method)
    shorter = min(image.size)
    width, height = (size if edge == shorter else int(size * edge / shorter) for edge in image.size)
    if width * height > MAX_PIXELS:
        raise InputError(f"the image is too narrow ({image.size[0]} x {image.size[1]}) to be cut")
    left, top = (width - size) // 2, (height - size) // 2
    return _resize(image, (width, height), method).crop((left, top, left + size, top + size))


def _resize(image: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    """``image.resize`` as Pillow 13 does it, on every Pillow.

    It rounds to bytes after each of its two passes, one a direction, so that their order changes
    pixels. Pillow 13 shrinks the height first where it shrinks by more than twice what the width
    does (`ImagingResampleInner` in its Resample.c); older ones always begin with the width, unless
    they are asked for the height alone.
    """
    width, height = size
    lost = image.height - height
    if lost > 0 and lost > 2 * (image.width - width):
        image = image.resize((image.width, height), method)
    return image if image.size == size else image.resize(size, method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency over white, 16 bits scaled (not clipped) to 8.

    Arrays are changed in place: the largest images are a quarter of a gigabyte.
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

"""From an image file's bytes to a decoded, upright Pillow image.

Only the orientation is read from its metadata. Other oddities there never make an image invalid.
"""

import contextlib
import io
import re
import struct
import zlib
from importlib.util import find_spec

from PIL import Image, UnidentifiedImageError

from mmsent.errors import InputError

MAX_PIXELS = 1 << 26
"""Images with more pixels (8192 x 8192) are refused before they are decoded."""

# What cameras and websites write. Of Pillow's other formats, one runs a program (EPS: Ghostscript),
# some decode in Python (a second per megabyte), and the size of some is known only after decoding.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"),
    *(("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()),
)

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PNG_ORIENTATION = (b"exif\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""The keywords of PNG texts that may contain the orientation."""
_MAX_PNG_TEXT = 1 << 20
"""Pillow refuses the whole image if a compressed text has more bytes."""

_EXIF = re.compile(rb"(\xff\xe1..|infe[\x02\x03].{7}(?:..)?)Exif", re.DOTALL)
"""The start of a JPEG's EXIF, or the entry of an AVIF's (ISO/IEC 14496-12, ItemInfoEntry)."""
_MAX_JPEG_SEGMENT = 1 << 16

_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_XMP_IN_TIFF = 0x02BC
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(data: bytes) -> Image.Image:
    """Read the header of an image file; its pixels are not decoded yet.

    Raises InputError if it is not one of FORMATS or its header is damaged, and Pillow's errors.
    """
    if data.startswith(_PNG):
        data = _without_metadata(data)
    try:
        return _identify(data)
    except Exception:  # damaged files can raise anything
        # Pillow reads the resolution in a JPEG's EXIF, and all of an AVIF's, and fails on odd ones.
        exif = _EXIF.search(data)
        if exif is None:
            raise
        image = _identify(_EXIF.sub(rb"\1skip", data))
        if image.format != "AVIF":  # an AVIF's orientation is in its container
            image.info["exif"] = data[exif.end(1) :][:_MAX_JPEG_SEGMENT]
        return image


def _identify(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InputError(f"the image can't be decoded ({_cause(data)})") from None


def decode_upright(image: Image.Image) -> Image.Image:
    """Decode ``image``, and rotate it if its orientation says so.

    Raises InputError if it is too large, and Pillow's errors if it is damaged.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"the image is too large ({width} x {height}, over {MAX_PIXELS} pixels)")
    if "xmp" not in image.info:
        _find_xmp(image)
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _find_xmp(image: Image.Image) -> None:
    """Put the XMP of a JPEG or a TIFF where Pillow 11 and newer put it.

    Not if a TIFF has its own orientation, which Pillow applies and then forgets.
    """
    for name, content in getattr(image, "applist", ()):
        if name == "APP1" and content.startswith(_XMP_IN_JPEG):
            image.info["xmp"] = content
    tags = getattr(image, "tag_v2", {})
    if _XMP_IN_TIFF in tags and _ORIENTATION not in tags:
        image.info["xmp"] = tags[_XMP_IN_TIFF]


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes a decoded image upright, according to its EXIF or XMP.

    Like ImageOps.exif_transpose, but that rewrites the whole EXIF, so every tag must be valid. Here
    other tags don't matter, and an unreadable orientation is ignored. Pillow itself rotates a TIFF
    when it decodes it.
    """
    try:
        if (value := image.getexif().get(_ORIENTATION)) is not None:
            return _TURNS.get(value)
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF can raise anything
        pass
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    match = _XMP_ORIENTATION.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return _TURNS.get(int(match[1])) if match else None


def _cause(data: bytes) -> str:
    """Why Pillow does not identify an image in ``data``, since its own error does not say."""
    if not data:
        return "the file is empty"
    for name in FORMATS:
        reader, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(data[:16])
        if isinstance(accepted, str):
            return accepted
        if accepted:
            try:
                reader(io.BytesIO(data), "").close()
            except MemoryError:
                raise
            except Exception as error:
                return f"{name}: {str(error) or type(error).__name__}"
    return f"it is not one of {', '.join(FORMATS)}"


def _without_metadata(png: bytes) -> bytes:
    """A PNG without its texts and colour profile, which affect no pixel.

    Pillow decompresses all of them, and refuses an image with a large one. Kept are small texts
    that may contain the orientation, and texts with a wrong checksum, which Pillow must refuse.
    """
    kept: list[memoryview] = []
    view, start, position = memoryview(png), 0, len(_PNG)
    while position + 12 <= len(png):  # length, kind, ..., checksum
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        if kind in _PNG_METADATA and end <= len(png):
            content = png[position + 8 : end - 4]
            (checksum,) = struct.unpack_from(">I", png, end - 4)
            if zlib.crc32(content, zlib.crc32(kind)) == checksum and (
                not content.startswith(_PNG_ORIENTATION) or _is_large(kind, content)
            ):
                kept.append(view[start:position])
                start = end
        position = end
    return b"".join([*kept, view[start:]]) if kept else png


def _is_large(kind: bytes, content: bytes) -> bool:
    """Whether a PNG's text chunk decompresses to more than Pillow accepts."""
    text = content.partition(b"\0")[2]
    if kind == b"zTXt":
        compressed = text[1:]
    elif kind == b"iTXt" and text[:1] != b"\0":
        compressed = text[2:].split(b"\0", 2)[-1]  # after the language and the translated keyword
    else:
        return False
    inflater = zlib.decompressobj()
    with contextlib.suppress(zlib.error):  # Pillow treats a damaged one as empty
        inflater.decompress(compressed, _MAX_PNG_TEXT)
    return bool(inflater.unconsumed_tail)

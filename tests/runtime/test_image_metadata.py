"""Image metadata: the orientation is applied, and no other metadata makes an image unreadable.

Compared with Pillow's own transposition on files whose EXIF it can read.
"""

import io
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, features

from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings, load_image

SIZE = ImageSettings(size=16)
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])]
ACROSS, DOWN = np.meshgrid(np.arange(0, 240, 6), np.arange(0, 240, 10))
PICTURE = Image.fromarray(np.stack([ACROSS, DOWN, 255 - ACROSS], axis=-1).astype(np.uint8))
ORIENTATION = (0x0112, 3, struct.pack("<H", 6))
DESCRIPTION = (0x010E, 2, b"y" * 400 + b"\0")
ODD = {
    "XResolution of -1/0": (0x011A, 10, struct.pack("<ii", -1, 0)),
    "XResolution of 0/0": (0x011A, 5, struct.pack("<II", 0, 0)),
    "an XResolution of a single number": (0x011A, 11, struct.pack("<f", 72)),
    "an XResolution that is nothing": (0x011A, 7, b""),
    "Software as DOUBLE": (0x0131, 12, struct.pack("<d", 1.5)),
    "an Exif IFD outside the file": (0x8769, 4, struct.pack("<I", 1 << 30)),
    "a GPS IFD that is a text": (0x8825, 2, b"north\0"),
    "a tag of an unknown type": (0x9999, 99, b"abcd"),
}
SIZES = {2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8, 99: 4}


def exif(*tags: tuple[int, int, bytes]) -> bytes:
    """EXIF, little-endian: a TIFF header and one directory of (tag, type, value)."""
    values, directory = b"", struct.pack("<H", len(tags))
    for tag, kind, value in sorted(tags):
        directory += struct.pack("<HHI", tag, kind, len(value) // SIZES[kind])
        if len(value) > 4:
            directory += struct.pack("<I", 8 + 2 + 12 * len(tags) + 4 + len(values))
            values += value
        else:
            directory += value.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0" + directory + b"\0\0\0\0" + values


def encoded(format: str, metadata: bytes = b"", **options: object) -> bytes:
    """PICTURE with this EXIF, unchecked: Pillow's AVIF and TIFF writers parse it."""
    if format == "WEBP":
        options["lossless"] = True
    file = io.BytesIO()
    if format == "AVIF" and metadata:
        PICTURE.save(file, format, exif=b"Exif\0\0" + exif(DESCRIPTION), quality=100)
        data = file.getvalue()
        start = data.index(b"II*\0")
        assert len(metadata) <= 400
        return data[:start] + metadata + data[start + len(metadata) :]
    if metadata:
        options["exif"] = b"Exif\0\0" + metadata
    PICTURE.save(file, format, **options)
    return file.getvalue()


def tiff(*tags: tuple[int, int, bytes]) -> bytes:
    """PICTURE as a TIFF with these tags in its directory."""
    pixels, longs = PICTURE.tobytes(), {256: PICTURE.width, 257: PICTURE.height, 262: 2, 277: 3}
    longs |= {259: 1, 273: 1000, 278: PICTURE.height, 279: len(pixels)}
    own = [(tag, 4, struct.pack("<I", value)) for tag, value in longs.items()]
    own.append((258, 3, struct.pack("<HHH", 8, 8, 8)))
    return exif(*own, *tags).ljust(1000, b"\0") + pixels


def turned(data: bytes, turn: Image.Transpose | None) -> np.ndarray:
    """The pixels of a file, transposed without Pillow's reading of the orientation."""
    with Image.open(io.BytesIO(data)) as image:
        upright = image.convert("RGB")
    return load_image(upright if turn is None else upright.transpose(turn), SIZE)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", FORMATS)
def test_valid_exif_turns_an_image_as_in_pillow(format: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    file = io.BytesIO()
    PICTURE.save(file, format, exif=tags)
    with Image.open(file) as image:
        wanted = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(load_image(file.getvalue(), SIZE), load_image(wanted, SIZE))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("format", FORMATS)
def test_an_invalid_tag_next_to_the_orientation_is_ignored(format: str, odd: str) -> None:
    unit = (0x0128, 3, struct.pack("<H", 2))  # without it, Pillow does not read the resolution
    tags = (ORIENTATION, unit, ODD[odd])
    data = tiff(*tags) if format == "TIFF" else encoded(format, exif(*tags))
    # An AVIF is turned as its container says; this one has no rotation.
    turn = None if format == "AVIF" else Image.Transpose.ROTATE_270
    plain = (
        tiff()
        if format == "TIFF"
        else encoded(format, **({"quality": 100} if format == "AVIF" else {}))
    )
    np.testing.assert_array_equal(load_image(data, SIZE), turned(plain, turn))


@pytest.mark.parametrize(
    "broken",
    [b"nonsense", b"II*\0\xff\xff\xff\x7f", b"II*\0", exif(DESCRIPTION, ORIENTATION)[:18]],
    ids=["no TIFF", "no directory", "nothing", "cut before the orientation"],
)
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "TIFF"])
def test_unreadable_exif_means_upright(format: str, broken: bytes) -> None:
    options = {"quality": 100} if format == "AVIF" else {}
    wanted = turned(encoded(format, **options), None)
    np.testing.assert_array_equal(load_image(encoded(format, broken), SIZE), wanted)


XMP = '<rdf:Description tiff:Orientation="{}"/>'
XMP_ELEMENT = "<tiff:Orientation>{}</tiff:Orientation>"


@pytest.mark.parametrize("xmp", [XMP, XMP_ELEMENT])
@pytest.mark.parametrize("orientation", [1, 3, 6, 9])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("tagged", [False, True])
def test_xmp_turns_an_image_as_in_pillow(
    format: str, orientation: int, xmp: str, tagged: bool
) -> None:
    """Only if the EXIF has no orientation."""
    packet = xmp.format(orientation).encode()
    options: dict[str, object] = {"xmp": packet}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
    elif format == "TIFF":
        options = {"tiffinfo": {0x02BC: packet} | ({0x0112: 8} if tagged else {})}
    if tagged and format != "TIFF":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 8
    file = io.BytesIO()
    PICTURE.save(file, format, **options)
    with Image.open(file) as image:
        wanted = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(load_image(file.getvalue(), SIZE), load_image(wanted, SIZE))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(*chunks: bytes, last: bool = False, **options: object) -> bytes:
    """PICTURE as a PNG with these chunks before or after the pixels."""
    data = encoded("PNG", **options)
    place = data.index(b"IEND" if last else b"IDAT") - 4
    return data[:place] + b"".join(chunks) + data[place:]


LARGE = zlib.compress(b"a" * 3_000_000)
LARGE_CHUNKS = {
    "compressed text": [chunk(b"zTXt", b"Comment\0\0" + LARGE)],
    "compressed international text": [chunk(b"iTXt", b"Comment\0\1\0en\0Comment\0" + LARGE)],
    "a colour profile": [chunk(b"iCCP", b"profile\0\0" + LARGE)],
    "text": [chunk(b"tEXt", b"Comment\0" + b"a" * 3_000_000)],
    "XMP": [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE)],
    "EXIF as text": [chunk(b"zTXt", b"Raw profile type exif\0\0" + LARGE)],
    "a hundred texts": [chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 1_000_000))] * 100,
    "a bomb": [chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(500_000_000), 1))],
}


@pytest.mark.parametrize("last", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize("name", LARGE_CHUNKS)
def test_a_png_with_much_metadata_is_read(name: str, last: bool) -> None:
    data = png(*LARGE_CHUNKS[name], last=last)
    np.testing.assert_array_equal(load_image(data, SIZE), load_image(PICTURE, SIZE))


@pytest.mark.parametrize("last", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
def test_exif_in_a_pngs_text_still_counts(kind: bytes, last: bool) -> None:
    """As ImageMagick writes it."""
    content = b"Exif\0\0" + exif(ORIENTATION)
    text = f"\nexif\n{len(content):8}\n{content.hex()}\n".encode()
    text = b"\0" + zlib.compress(text) if kind == b"zTXt" else text
    data = png(*LARGE_CHUNKS["text"], chunk(kind, b"Raw profile type exif\0" + text), last=last)
    wanted = load_image(PICTURE.transpose(Image.Transpose.ROTATE_270), SIZE)
    np.testing.assert_array_equal(load_image(data, SIZE), wanted)


def test_an_animated_png_gives_its_first_frame() -> None:
    data = png(
        *LARGE_CHUNKS["text"], save_all=True, append_images=[PICTURE.rotate(180)], duration=9
    )
    np.testing.assert_array_equal(load_image(data, SIZE), load_image(PICTURE, SIZE))


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iCCP", b"tRNS", b"gAMA", b"eXIf", b"PLTE"])
def test_a_wrong_checksum_is_named_as_the_cause(kind: bytes) -> None:
    damaged = chunk(kind, b"key\0\0" + zlib.compress(b"text"))[:-1] + b"\0"
    with pytest.raises(
        InputError, match=re.escape(f"PNG: broken PNG file (bad header checksum in {kind!r}")
    ):
        load_image(png(damaged), SIZE)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (encoded("PNG").replace(b"IHDR\0", b"IHDR\1", 1), "PNG: "),
        (encoded("JPEG")[:20], "JPEG: "),
        (b"II*\0" + b"\xff" * 20, "TIFF: "),
        (b"BM\0", "BMP: "),
        (b"<html>404</html>", "it is not one of JPEG, PNG"),
        (b"", "the file is empty"),
    ],
    ids=["PNG", "JPEG", "TIFF", "BMP", "HTML", "nothing"],
)
def test_a_broken_header_names_its_format(data: bytes, cause: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"the image can't be decoded ({cause}")):
        load_image(data, SIZE)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a\0.jpg", "the image can't be read (its name contains a NUL byte)"),
        (
            "a\ud800.jpg",
            r"the image can't be read (its name contains '\ud800', which utf-8 can't encode)",
        ),
    ],
)
def test_an_impossible_file_name(name: str, cause: str) -> None:
    with pytest.raises(InputError, match=re.escape(cause)):
        load_image(name, SIZE)


def test_a_row_with_an_impossible_path_is_reported(run_command, tmp_path: Path) -> None:
    row = {"guid": "7", "text": "a fun day", "image": "a\0.jpg", "label": "positive"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row) + "\n")
    result = run_command("mmsent", "check-data", "--data", "list.jsonl", "--json", cwd=tmp_path)
    assert result.code == 2
    (error,) = (error for error in json.loads(result.out)["errors"] if error["guid"] == "7")
    assert error["message"] == "the image can't be read (its name contains a NUL byte)"

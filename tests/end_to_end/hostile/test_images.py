"""Images that can't be read, or only at great cost, and odd but valid images."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from .cases import accepted, refused

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def encoded(format, image=PICTURE, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, data):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, colour=2):
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_a_truncated_image(run_command, dataset, format, share):
    data = encoded(format)
    (dataset / "data" / "2.jpg").write_bytes(data[: int(len(data) * share)])
    refused(run_command, dataset, "can't be decoded")


@pytest.mark.parametrize(
    "format", ["EPS", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "PDF", "ICNS", "IM", "DDS",
               "MSP", "SPIDER", "XBM", "DIB", "BLP"],
)  # fmt: skip
def test_an_unsupported_format(run_command, dataset, format):
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P"}.get(format, "RGB")
    (dataset / "data" / "2.jpg").write_bytes(encoded(format, PICTURE.convert(mode)))
    refused(run_command, dataset, "it is not one of JPEG, PNG")


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%PDF-1.7\n", b"<html>404</html>", b"push graphic-context\nfill 'url(https://x)'\n",
        b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x00\x00\x00\x00WEBP",
        b"II*\x00", b"MM\x00*", b"II*\x00\xff\xff\xff\xff", b"\x00\x00\x00\x20ftypavif",
        b"\x00" * 99, b"MZ", b"\x7fELF", b"PK\x03\x04", b"\x1f\x8b", b"#!/bin/sh\nid\n",
        b"guid,tag\n1,null\n",
    ],
    ids=range(21),
)  # fmt: skip
def test_not_an_image(run_command, dataset, content):
    (dataset / "data" / "2.jpg").write_bytes(content)
    refused(run_command, dataset, "can't be decoded")


def resized(format, width, height):
    """An image whose header gives a different size from its data."""
    data = bytearray(encoded(format))
    if format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
        place = data.index(b"\x2c\x00\x00\x00\x00") + 5  # the first picture's own size
        data[place : place + 4] = struct.pack("<HH", width, height)
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif format == "TIFF":
        for tag, value in ((256, width), (257, height)):
            place = data.index(struct.pack("<HH", tag, 4)) + 8
            data[place : place + 4] = struct.pack("<I", value)
    return bytes(data)


DATA = chunk(b"IDAT", zlib.compress(b"\x00" * 99))
BOMBS = {
    "a PNG of 65,000 x 65,000": lambda: png(65_000, 65_000, DATA),
    "a PNG of 2^31 - 1 a side": lambda: png(2**31 - 1, 2**31 - 1),
    "a PNG of zeros, 8,193 x 8,193": lambda: encoded("PNG", Image.new("1", (8193, 8193))),
    "a GIF of 65,535 x 65,535": lambda: resized("GIF", 65_535, 65_535),
    "a BMP of 2^31 - 1 x 9": lambda: resized("BMP", 2**31 - 1, 9),
    "a JPEG of 65,500 x 65,500": lambda: resized("JPEG", 65_500, 65_500),
    "a TIFF of 10^9 x 10^9": lambda: resized("TIFF", 10**9, 10**9),
    "a PNG of no width": lambda: png(0, 9, DATA),
    "a PNG with a wrong check sum": lambda: encoded("PNG").replace(b"IDAT", b"IDAT\x00", 1),
    "a PNG without its picture": lambda: png(9, 9),
    "a PNG of an unknown colour type": lambda: png(9, 9, colour=5),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb(run_command, dataset, name):
    (dataset / "data" / "2.jpg").write_bytes(BOMBS[name]())
    refused(run_command, dataset, "data/2.jpg: the image ")


@pytest.mark.parametrize("size", [(1 << 26) + 1, 1 << 36], ids=["64 MiB", "64 GiB"])
def test_an_enormous_image_file(run_command, dataset, size):
    """Sparse files take no space on disk."""
    os.truncate(dataset / "data" / "2.jpg", size)
    refused(run_command, dataset, "the image is larger than 65536 KiB")


def crammed(kind):
    """A PNG with a text chunk, or a profile, of a hundred megabytes."""
    large = chunk(kind, b"a\0\0" + zlib.compress(b"\0" * 100_000_000))
    return png(9, 9, large, chunk(b"IDAT", zlib.compress(b"\0" * 252)))


def animated(format, frames):
    """An animation of different frames."""
    pictures = [Image.new("P", (60, 40), number) for number in range(frames)]
    return encoded(format, pictures[0], save_all=True, append_images=pictures[1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda: encoded("PNG", Image.new("RGB", (100_000, 1))),
        lambda: encoded("PNG", Image.new("RGB", (1, 100_000))),
        lambda: encoded("PNG", Image.new("1", (8192, 8192))),
        lambda: encoded("PNG", Image.new("RGB", (1, 1))),
        lambda: encoded("JPEG") + b"PK\x03\x04" + b"\x00" * 400,
        lambda: encoded("PNG") + b"<?php system('id'); ?>",
        lambda: encoded("GIF").replace(b"GIF89a", b"GIF87a"),
        lambda: encoded("JPEG", comment=b"<script>alert(1)</script>"),
        lambda: encoded("PNG", icc_profile=b"no profile at all"),
        lambda: crammed(b"zTXt"),
        lambda: crammed(b"iCCP"),
        lambda: animated("GIF", 200),
        lambda: animated("TIFF", 50),
        lambda: animated("WEBP", 20),
    ],
    ids=range(14),
)
def test_an_odd_but_valid_image(run_command, dataset, make):
    (dataset / "data" / "2.jpg").write_bytes(make())
    accepted(run_command, dataset)

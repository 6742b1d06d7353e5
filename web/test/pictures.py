"""Image files of every kind, valid and broken."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms


def photo(width: int = 150, height: int = 110) -> Image.Image:
    """An image with edges, gradients and noise in every channel."""
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    waves = np.stack([x * 255 // width, y * 255 // height, ((x // 9 + y // 7) % 2) * 190], -1)
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def draw_files() -> Iterator[tuple[str, bytes]]:
    """File names and contents."""
    image = photo()
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    yield from jpegs(image)
    yield from pngs(image, alpha)
    yield from others(image, alpha)
    yield from broken(image)


def jpegs(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        yield f"{name}.jpg", encoded(image, "JPEG", subsampling=subsampling, quality=85)
    yield "progressive.jpg", encoded(image, "JPEG", progressive=True, optimize=True)
    yield "grey.jpg", encoded(image.convert("L"), "JPEG")
    yield "restarts.jpg", encoded(image, "JPEG", restart_marker_rows=1)
    yield "cmyk.jpg", encoded(image.convert("CMYK"), "JPEG", quality=95)
    black = np.dstack([image, image.convert("L").point(lambda level: level // 3)])
    yield "cmyk-black.jpg", encoded(Image.fromarray(black, "CMYK"), "JPEG", quality=95)
    for orientation in range(1, 10):
        yield f"turned-{orientation}.jpg", encoded(image, "JPEG", exif=oriented(orientation))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "xmp.jpg", encoded(image, "JPEG", xmp=xmp)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    # Arithmetic coding, which Pillow can't write; what it decodes to does not matter.
    yield "arithmetic.jpg", encoded(image, "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    yield "profile.jpg", encoded(image, "JPEG", icc_profile=profile)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "srgb.jpg", encoded(image, "JPEG", icc_profile=srgb)
    for width, height in ((1, 1), (3, 400), (400, 3), (48, 48), (48, 300), (900, 60), (49, 47)):
        yield f"{width}x{height}.jpg", encoded(photo(width, height), "JPEG", subsampling=0)


def pngs(image: Image.Image, alpha: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "rgb.png", encoded(image, "PNG")
    yield "alpha.png", encoded(alpha, "PNG")
    yield "grey.png", encoded(image.convert("L"), "PNG")
    yield "grey-alpha.png", encoded(alpha.convert("LA"), "PNG")
    yield "one-bit.png", encoded(image.convert("1"), "PNG")
    yield "palette.png", encoded(image.quantize(37), "PNG")
    yield "palette-transparent.png", encoded(image.quantize(37), "PNG", transparency=3)
    yield (
        "colour-transparent.png",
        encoded(image.quantize(4).convert("RGB"), "PNG", transparency=(0, 0, 0)),
    )
    yield "turned.png", encoded(image, "PNG", exif=oriented(6))
    frames = {"save_all": True, "append_images": [image.rotate(90)]}
    yield "animated.png", encoded(image, "PNG", **frames)
    yield "animated-later.png", encoded(image, "PNG", default_image=True, **frames)
    wide = np.random.default_rng(1).integers(0, 1 << 16, (40, 60), dtype=np.uint16)
    yield "16-bit.png", encoded(Image.fromarray(wide), "PNG")
    colour = np.random.default_rng(2).integers(0, 1 << 16, (40, 60, 3), dtype=np.uint16)
    yield "16-bit-colour.png", png(colour)


def png(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG with 16-bit RGB, which Pillow can't write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b""))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def others(image: Image.Image, alpha: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "plain.gif", encoded(image, "GIF")
    yield "transparent.gif", encoded(alpha, "GIF")
    frames = [image, image.rotate(90)]
    yield "animated.gif", encoded(image, "GIF", save_all=True, append_images=frames)
    part = bytearray(encoded(image.quantize(37), "GIF"))
    part[6:10] = struct.pack("<HH", 200, 150)  # the screen is larger than the frame
    yield "part.gif", bytes(part)
    yield "colour.bmp", encoded(image, "BMP")
    yield "palette.bmp", encoded(image.quantize(37), "BMP")
    yield "lossy.webp", encoded(image, "WEBP", quality=80)
    yield "lossless.webp", encoded(image, "WEBP", lossless=True)
    yield "lossless-alpha.webp", encoded(alpha, "WEBP", lossless=True, exact=True)
    yield "lossy-alpha.webp", encoded(alpha, "WEBP", quality=80)
    yield "animated.webp", encoded(image, "WEBP", save_all=True, append_images=frames)
    for name, exif in (("", oriented(8).tobytes()[6:]), ("-prefixed", oriented(8).tobytes())):
        yield f"turned{name}.webp", encoded(image, "WEBP", lossless=True, exif=exif)
    yield "colour.avif", encoded(image, "AVIF", quality=90)
    yield "alpha.avif", encoded(alpha, "AVIF", quality=90)
    yield "animated.avif", encoded(image, "AVIF", quality=90, save_all=True, append_images=frames)
    yield "colour.tiff", encoded(image, "TIFF")


def broken(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    for name, format in (("jpg", "JPEG"), ("png", "PNG"), ("gif", "GIF"), ("webp", "WEBP")):
        content = encoded(image, format)
        yield f"half.{name}", content[: len(content) // 2]
        yield f"head.{name}", content[:40]
    whole = encoded(image, "PNG")
    for name, place in (("header", 20), ("pixels", len(whole) // 2)):
        yield f"damaged-{name}.png", whole[:place] + b"!" + whole[place + 1 :]
    progressive = encoded(image, "JPEG", progressive=True)
    yield "half-progressive.jpg", progressive[: len(progressive) // 2]
    yield "html.jpg", b"<html>404</html>"
    yield "empty.jpg", b""
    yield "large.png", encoded(Image.new("1", (8200, 8200)), "PNG")
    yield "narrow.png", encoded(Image.new("L", (1, 60_000)), "PNG")

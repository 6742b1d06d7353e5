"""The same pixels with every supported version of Pillow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw

from mmsent.inputs.image import ImageSettings, load_image

from . import pixel_digests

VERSIONS = ("10.3.0", "11.*", "12.*", "13.*")
SIZES = [
    (500, 375), (375, 500), (640, 1136), (1136, 640), (224, 224), (224, 900), (900, 224),
    (112, 337), (113, 339), (300, 377), (300, 376), (100, 700), (700, 100), (9, 1500), (1500, 9),
    (1, 400), (400, 1), (1, 1), (17, 23), (4000, 2), (2, 4000),
]  # fmt: skip
FORMATS_OF_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
}  # fmt: skip


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Sharp edges over noise, so that a wrong pass or rounding is visible."""
    random = np.random.default_rng(width * 10_000 + height)
    if mode in ("I;16", "F"):
        values = random.integers(0, 65536, (height, width))
        return Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.float32))
    image = Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8))
    draw = ImageDraw.Draw(image)
    for step in range(0, max(width, height), 7):
        draw.line([(step, 0), (width - step, height)], fill=(step % 256, 255, 0, 255))
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for width, height in SIZES:
        drawn(width, height).save(folder / f"{width}x{height}.png")
        drawn(width, height).save(folder / f"{width}x{height}.jpg", quality=83)
    for format, modes in FORMATS_OF_MODES.items():
        for mode in modes:
            name = f"{format} {mode}".replace(";", "-")
            for width, height in ((320, 200), (200, 600)):
                drawn(width, height, mode).save(folder / f"{name} {width}x{height}", format)
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    exif = Image.Exif()
    exif[0x0112] = 8
    for format in ("JPEG", "PNG", "WEBP", "TIFF"):
        drawn(320, 200).save(folder / f"{format} with EXIF", format, exif=exif)
    for format in ("JPEG", "WEBP"):
        drawn(320, 200).save(folder / f"{format} with XMP", format, xmp=xmp)
    drawn(320, 200).save(folder / "TIFF with XMP", "TIFF", tiffinfo={0x02BC: xmp})
    return folder


@pytest.mark.installs
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_same_pixels(folder: Path, tmp_path: Path, version: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
         "--target", tmp_path, f"pillow=={version}"],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, pixel_digests.__file__, folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        check=True,
        stdout=subprocess.PIPE,
    )
    there = json.loads(done.stdout)
    assert there["pillow"].split(".")[0] == version.split(".")[0]
    assert there["digests"] == pixel_digests.digests(folder)


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="older ones differ")
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_resizing_is_that_of_pillow_13(size: tuple[int, int], filter: str) -> None:
    image = drawn(*size)
    wanted = image.resize((224, 224), Image.Resampling[filter.upper()])
    got = load_image(image, ImageSettings(224, "stretch", filter))
    np.testing.assert_array_equal(got, np.asarray(wanted))

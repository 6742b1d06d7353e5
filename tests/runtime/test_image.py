"""Images compared with Pillow's own conversions and with values computed by hand."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmsent.errors import InputError
from mmsent.inputs.image import MAX_PIXELS, ImageSettings, load_image

SMALL = ImageSettings(size=8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    ramp = np.linspace(0, 255, width * height).reshape(height, width)
    return Image.fromarray(np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1).astype(np.uint8))


def test_a_jpeg_is_stretched_as_by_pillow(tmp_path):
    path = tmp_path / "a.jpg"
    gradient(300, 200).save(path)
    with Image.open(path) as image:
        wanted = image.resize((224, 224), Image.Resampling.BILINEAR)
    pixels = load_image(path, ImageSettings())
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    path = tmp_path / "a.png"
    gradient().save(path)
    wanted = load_image(path, SMALL)
    with Image.open(path) as image:
        for source in (str(path), path.read_bytes(), image, np.asarray(gradient())):
            np.testing.assert_array_equal(load_image(source, SMALL), wanted)


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_content_decides_the_format_not_the_name(tmp_path, format):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(gradient(), format))
    with Image.open(path) as image:
        wanted = image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load_image(path, SMALL), np.asarray(wanted))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_modes_are_converted_to_rgb_as_by_pillow(mode):
    image = gradient().convert(mode)
    wanted = image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load_image(image, SMALL), np.asarray(wanted))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = gradient()
    if orientation in turned:
        upright = upright.transpose(turned[orientation])
    got = load_image(encoded(gradient(), "PNG", exif=exif), SMALL)
    np.testing.assert_array_equal(got, load_image(encoded(upright, "PNG"), SMALL))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_parts_are_white(mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": (0, 0, 0) if mode == "RGB" else 0} if mode in ("P", "RGB") else {}
    assert (load_image(encoded(image, "PNG", **options), SMALL) == 255).all()


def test_half_transparent_red_is_pink():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert load_image(image, SMALL)[0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize(("value", "level"), [(0, 0), (257, 1), (32896, 128), (65535, 255)])
def test_sixteen_bits_are_scaled_not_clipped(value, level):
    image = Image.fromarray(np.full((4, 4), value, np.uint16))
    for data in (encoded(image, "PNG"), encoded(image, "TIFF")):
        assert (load_image(data, SMALL) == level).all()


@pytest.mark.parametrize(("value", "level"), [(0.0, 0), (1.0, 255), (200.0, 200), (1e9, 255)])
def test_floating_point_images(value, level):
    image = Image.fromarray(np.full((4, 4), value, np.float32))
    assert (load_image(encoded(image, "TIFF"), SMALL) == level).all()


def test_the_callers_image_is_not_changed():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(gradient(), "PNG", exif=exif)))
    load_image(image, SMALL)
    assert image.size == (40, 24)


def test_a_truncated_image_is_refused():
    data = encoded(gradient(300, 200), "JPEG")
    with pytest.raises(InputError, match=r"can't be decoded \(.*truncated"):
        load_image(data[: len(data) // 2], SMALL)


def test_a_file_that_is_not_an_image_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match="can't be decoded"):
        load_image(path, SMALL)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    side = int(MAX_PIXELS**0.5)
    bomb = encoded(Image.new("1", (side + 1, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match=f"too large .{side + 1} x {side}"):
        load_image(bomb, SMALL)


def test_an_array_of_floats_is_refused():
    with pytest.raises(InputError, match="must be uint8, not float64"):
        load_image(np.zeros((4, 4, 3)), SMALL)


def test_a_missing_file_is_reported_as_missing(tmp_path):
    with pytest.raises(InputError, match="the image does not exist"):
        load_image(tmp_path / "none.jpg", SMALL)


@given(data=st.binary(max_size=300), cut=st.integers(0, 400))
def test_only_broken_files_are_refused(data, cut):
    whole = encoded(gradient(), "PNG")
    for broken in (data, whole[:cut] + data + whole[cut + len(data) :]):
        with contextlib.suppress(InputError):
            assert load_image(broken, SMALL).shape == (8, 8, 3)

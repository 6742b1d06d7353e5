"""A reader written only from docs/bundle.md, without mmsent, gives the same results."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
import pytest
from PIL import Image, ImageOps
from tokenizers import Tokenizer

from mmsent import SentimentModel
from mmsent.inputs.image import ImageSettings, load_image

from ..small_bundle import write_small_bundle

# ---- the reader


class Reader:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.info = json.loads(metadata["mmsent.bundle"])
        assert self.info["format"] == 2
        self.tokenizer = Tokenizer.from_str(metadata["mmsent.tokenizer"])
        most = (self.tokenizer.truncation or {}).get("max_length", 1024)
        self.tokenizer.enable_truncation(min(most, self.info["text"]["max_length"]))
        self.tokenizer.no_padding()

    def pixels(self, source):
        size, resize = self.info["image"]["size"], self.info["image"]["resize"]
        if source is None:
            return np.full((size, size, 3), 127, np.uint8)
        image = ImageOps.exif_transpose(Image.open(source))
        if image.mode.startswith("I;16"):
            levels = (np.asarray(image).astype(int) + 128) // 257
            image = Image.fromarray(levels.astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        shorter = min(image.size)
        wide, high = (
            size if resize == "stretch" else size * edge // shorter for edge in image.size
        )
        method = Image.Resampling[self.info["image"]["filter"].upper()]
        if int(PIL.__version__.split(".")[0]) < 13 and (
            0 < image.height - high > 2 * (image.width - wide)
        ):
            image = image.resize((image.width, high), method)
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.resize((wide, high), method)
        return np.asarray(image.crop((left, top, left + size, top + size)))

    def predict(self, text, image):
        ids = np.array([self.tokenizer.encode(text or "").ids], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        feed["pixels"] = self.pixels(image)[np.newaxis]
        (row,) = self.session.run(["probabilities"], feed)[0]
        return self.info["labels"][int(row.argmax())], row


def read_text(path):
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("gb18030")
    return text.removeprefix("\ufeff").strip()


def is_sealed(path):
    content = Path(path).read_bytes()
    place = content.rindex(b"mmsent.sha256\x12\x40") + len(b"mmsent.sha256\x12\x40")
    zeroed = content[:place] + b"0" * 64 + content[place + 64 :]
    return content[place : place + 64] == hashlib.sha256(zeroed).hexdigest().encode()


# ---- the reader, compared with mmsent


@pytest.fixture(params=["trained", "small"])
def path(request, tmp_path):
    if request.param == "trained":
        return request.getfixturevalue("bundle")
    return write_small_bundle(tmp_path / "model.onnx", optional=("text", "image"))


def test_it_gives_the_same_labels_for_files(path, sample, run_command, tmp_path):
    output = tmp_path / "predictions.csv"
    result = run_command(
        "mmsent-infer", sample / "test_without_label.txt", "--model", path, "--output", output,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.code == 0, result.err
    reader, data = Reader(path), sample / "data"
    for row in csv.DictReader(output.read_text().splitlines()):
        text = read_text(data / f"{row['guid']}.txt")
        assert reader.predict(text, data / f"{row['guid']}.jpg")[0] == row["tag"]


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("size", [(30, 500), (500, 30), (7, 7)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "LA", "I;16"])
def test_it_sees_the_same_pixels(tmp_path, mode, size, resize):
    levels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(levels, "CMYK" if mode == "CMYK" else "RGBA")
    saved = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    if mode == "I;16":
        image = Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    image.convert(mode).save(saved) if image.mode != mode else image.save(saved)
    reader = Reader(write_small_bundle(tmp_path / "model.onnx"))
    reader.info["image"] = settings = {"size": 56, "resize": resize, "filter": "bicubic"}
    expected = load_image(saved, ImageSettings(**settings))
    np.testing.assert_array_equal(reader.pixels(saved), expected)


@pytest.mark.parametrize("text", ["", "fun", "rain " * 400, "好天气 😀"])
def test_it_gives_the_same_probabilities_for_texts(path, text):
    reader, model = Reader(path), SentimentModel(path, threads=1)
    label, row = reader.predict(text, None)
    expected = model.predict(text=text)
    assert label == expected.label
    np.testing.assert_allclose(row, list(expected.probabilities.values()), atol=1e-6)


def test_the_seal_is_as_described(path, tmp_path):
    assert is_sealed(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(damaged)
    assert not is_sealed(tmp_path / "damaged.onnx")


def test_the_reader_has_forty_lines():
    """As docs/bundle.md says: the code from files and pairs to labels."""
    source = Path(__file__).read_text(encoding="utf-8")
    _, reader, _ = source.split("# ---- ", 2)
    lines = [line for line in reader.partition("def read_text")[0].splitlines()[1:] if line.strip()]
    assert len(lines) <= 40
    assert "mmsent import" not in reader

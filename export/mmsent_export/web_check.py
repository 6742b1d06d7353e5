"""The self-test of a site: some pairs with Python's results."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from mmsent.bundle.info import Precision
from mmsent.data.pair import PARTS
from mmsent.inputs.image import load_image
from mmsent.predict.model import SentimentModel

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "int8": 0.02}
"""How much a probability may differ in a browser: by rounding, or by a few steps of int8."""

_TEXTS = (
    "What a day! Sun, friends and the best coffee in town \u2600\ufe0f #happy",
    "@someone they can't be serious :( https://example.com/news?id=7",
    "这家餐厅的菜很好吃\uff0c但是等了一个小时。",
    "Ça va être génial… n'est-ce pas\u00a0?",
    "يوم جميل مع الأصدقاء",
    "so tired of waiting, again and again. " * 40,
)
"""Several scripts, emoji, and one that is longer than a model reads."""

_FILES: tuple[tuple[str, tuple[int, int], dict[str, Any]], ...] = (
    ("JPEG", (320, 240), {"quality": 85}),
    ("JPEG", (180, 300), {"quality": 92, "subsampling": 0, "progressive": True}),
    ("PNG", (240, 160), {}),
    ("JPEG", (500, 120), {"quality": 75}),
    ("WEBP", (200, 200), {"quality": 80}),
    ("JPEG", (97, 131), {"quality": 60}),
)
"""Formats, sizes, and how they are written."""


@dataclass(frozen=True)
class Example:
    """A pair for the self-test: a text and an image file; None if one is missing."""

    name: str
    text: str | None
    image: bytes | None


def self_test(model: SentimentModel, examples: Sequence[Example] | None = None) -> dict[str, Any]:
    """The content of selftest.json; by default for synthetic pairs.

    ``sha256`` is the bundle's seal. Of each pair: its text and its image's file in base64 or None,
    its token ids, the SHA-256 of its pixels, uint8 [size, size, 3], and its prediction.
    """
    pairs = [*draw(model)] if examples is None else examples
    return {
        "sha256": model.identity,
        "tolerance": TOLERANCE.get(model.info.precision, 0.02),
        "pairs": [_known(model, pair) for pair in pairs],
    }


def draw(model: SentimentModel) -> Iterator[Example]:
    """Synthetic pairs, always the same; some lack a part that the model can do without."""
    generator = np.random.default_rng(0)
    for place, (text, (kind, size, options)) in enumerate(zip(_TEXTS, _FILES), 1):
        file = BytesIO()
        _picture(generator, *size).save(file, kind, **options)
        yield Example(f"synthetic pair {place}", text, file.getvalue())
        image = file.getvalue()
    for part in PARTS:
        if part in model.info.optional:
            lacks_text = part == "text"
            name = f"synthetic pair without {part}"
            yield Example(name, None if lacks_text else _TEXTS[0], image if lacks_text else None)


def _picture(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """Smooth colours, edges and some grain, as photos have them."""
    coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = generator.normal(0, 6, (height, width, 1)).astype(np.int16)
    pixels = smooth + grain
    pixels[height // 3 : height // 2, width // 4 : width // 2] += 70
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _known(model: SentimentModel, pair: Example) -> dict[str, Any]:
    prediction = model.predict(pair.text, pair.image)
    digest = None
    if pair.image is not None:
        pixels = load_image(pair.image, model.info.image)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return {
        "name": pair.name,
        "text": pair.text,
        "image": None if pair.image is None else b64encode(pair.image).decode(),
        "ids": model.tokenize([pair.text or ""])[0],
        "pixels": digest,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
    }

"""The contents of a dataset's pairs: their texts and images, read and counted."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mmsent.data.pair import Pair, Part
from mmsent.errors import Problem
from mmsent.inputs.decoding import open_image
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text


class Image(NamedTuple):
    """An image file: its SHA-256, format and mode, and its size in pixels."""

    digest: bytes
    format: str
    width: int
    height: int


class Inspected(NamedTuple):
    """A pair and its contents; None for a part that is missing or can't be read.

    ``lacking``: the parts that the pair does not have.
    """

    pair: Pair
    problems: Sequence[Problem]
    text: str | None = None
    encoding: str | None = None
    image: Image | None = None
    lacking: Sequence[Part] = ()


def inspect(pair: Pair, parts: Collection[Part]) -> Inspected:
    """Read and decode the given ``parts`` of a pair, and collect their problems."""
    unusable = {part: pair.check([part]) for part in parts}
    problems = [problem for found in unusable.values() for problem in found]
    inspected = Inspected(pair.without_content(), problems)
    if "text" in parts and not unusable["text"]:
        text = pair.attempt("text", lambda: decode_text(pair.read("text")))
        if isinstance(text, Problem):
            problems.append(text)
        else:
            inspected = inspected._replace(text=text[0], encoding=text[1])
    if "image" in parts and not unusable["image"]:
        image = pair.attempt("image", lambda: _inspect_image(pair.read("image")))
        if isinstance(image, Problem):
            problems.append(image)
        else:
            inspected = inspected._replace(image=image)
    return inspected


def _inspect_image(data: bytes) -> Image:
    load_image(data, ImageSettings())
    with open_image(data) as image:
        kind = f"{image.format} {image.mode}"
        return Image(hashlib.sha256(data).digest(), kind, image.width, image.height)


@dataclass
class Contents:
    """Counts of the texts and images."""

    encodings: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    words: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)

    def add(self, inspected: Inspected) -> None:
        """Count the contents of one pair."""
        if inspected.text is not None:
            self.encodings[str(inspected.encoding)] += 1
            self.characters.update(inspected.text)
            self.words.append(len(inspected.text.split()))
        if inspected.image is not None:
            self.formats[inspected.image.format] += 1
            self.widths.append(inspected.image.width)
            self.heights.append(inspected.image.height)


def spread(values: Sequence[int]) -> dict[str, float]:
    """The minimum, median and maximum; empty if there are no values."""
    if not values:
        return {}
    return {"smallest": min(values), "median": statistics.median(values), "largest": max(values)}

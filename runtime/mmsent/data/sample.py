"""A synthetic dataset in the task's layout, for demonstrations and tests.

Text and image each carry the label, and each sometimes lies, so that a model of both beats a model
of one. As in real data, some texts are GB18030 and some images are not what their name says.
"""

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmsent.data.folder import TEST_LIST, TRAIN_LIST, image_file, text_file
from mmsent.data.labels import SENTIMENTS, are_sentiments, label_fault
from mmsent.errors import InputError
from mmsent.files.destination import check_empty

FILLER = "the a my this today we at with new on city people just so photo day and it".split()
TRUTHFUL = 0.8  # how often a text, or an image, shows the pair's own label


@dataclass(frozen=True)
class Look:
    """How the pairs of a label look; ``share``: how many of the pairs have it, roughly."""

    words: Sequence[str]
    colour: Sequence[int]
    shape: str
    share: float


SENTIMENT_LOOKS = {
    "negative": Look(
        "awful sad angry broken lost rain tired crash fear alone ruined worst".split(),
        (60, 70, 110),
        "cross",
        0.3,
    ),
    "neutral": Look(
        "report office schedule street number update table weekly notice list".split(),
        (140, 140, 140),
        "square",
        0.2,
    ),
    "positive": Look(
        "happy love great sunny win smile party beautiful proud thanks best fun".split(),
        (235, 190, 80),
        "disc",
        0.5,
    ),
}

NOTICE = """This dataset is synthetic.

`mmsent sample-data` drew it: the texts are random words, the images are random shapes. It has the
layout of the real task and exercises the same code; a score on it says nothing about real tweets.
"""


def write_sample_data(
    folder: Path, *, pairs: int = 400, seed: int = 0, labels: Sequence[str] = SENTIMENTS
) -> tuple[int, int]:
    """Write a labelled list of ``pairs`` rows, an unlabelled one an eighth as long, and the files.

    Returns the two numbers of rows. The same ``seed`` writes the same dataset.
    Raises InputError where ``folder`` exists and is not empty, or a label can't be one.
    """
    looks = _looks(labels, seed)
    check_empty(folder)
    rng = random.Random(seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(NOTICE, encoding="utf-8")
    unlabelled = max(1, pairs // 8)
    guids = [
        str(guid) for guid in rng.sample(range(1, 10 * (pairs + unlabelled)), pairs + unlabelled)
    ]
    shares = [look.share for look in looks.values()]
    tags = [label for label in labels for _ in range(3)]  # enough of each to split by label
    tags += rng.choices(labels, shares, k=max(0, pairs - len(tags)))
    tags = tags[:pairs]
    rng.shuffle(tags)
    tags += rng.choices(labels, shares, k=unlabelled)
    for guid, tag in zip(guids, tags):
        Path(text_file(folder, guid)).write_bytes(_text(rng, _shown(rng, tag, looks)))
        Path(image_file(folder, guid)).write_bytes(_image(rng, _shown(rng, tag, looks)))
    rows = [f"{guid},{tag}" for guid, tag in zip(guids, tags)]
    open_rows = [f"{guid},null" for guid in guids[pairs:]]
    _write_list(folder / TRAIN_LIST, rows[:pairs])
    _write_list(folder / TEST_LIST, open_rows)
    return pairs, unlabelled


def _write_list(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(["guid,tag", *rows]) + "\n", encoding="utf-8")


def _looks(labels: Sequence[str], seed: int) -> dict[str, Look]:
    """How each of ``labels`` looks: of others than the sentiments, words and colour are drawn."""
    for label in labels:
        if fault := label_fault(label):
            raise InputError(f"the labels {','.join(labels)}: {fault}")
    if len(set(labels)) < max(2, len(labels)):
        raise InputError(f"the labels {','.join(labels)}: name two or more, all different")
    if are_sentiments(labels):
        return {label: SENTIMENT_LOOKS[label] for label in labels}
    rng, shapes = random.Random(seed), ("cross", "square", "disc")
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return {
        label: Look(
            words=["".join(rng.choices(syllables, k=3)) for _ in range(12)],
            colour=rng.choices(range(40, 220), k=3),
            shape=shapes[place % len(shapes)],
            share=1 / len(labels),
        )
        for place, label in enumerate(labels)
    }


def _shown(rng: random.Random, label: str, looks: Mapping[str, Look]) -> Look:
    return looks[label if rng.random() < TRUTHFUL else rng.choice([*looks])]


def _text(rng: random.Random, look: Look) -> bytes:
    words = rng.choices(FILLER, k=rng.randint(3, 12)) + rng.choices(look.words, k=2)
    rng.shuffle(words)
    text = " ".join(words)
    if rng.random() < 0.15:
        text += f" #{rng.choice(look.words)}"
    if rng.random() < 0.2:  # quotes and an ellipsis, as Chinese tools save them
        return f"“{text}”…\n".encode("gb18030")
    return f"{text} {rng.choice(['!', '.', '?', ''])}\n".encode()


def _image(rng: random.Random, look: Look) -> bytes:
    size = rng.randint(80, 360), rng.randint(80, 360)
    colour = tuple(min(255, max(0, c + rng.randint(-40, 40))) for c in look.colour)
    image = Image.new("RGB", size, colour)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 7)):
        x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randint(8, 40)
        ink = tuple(rng.randrange(256) for _ in range(3))
        if look.shape == "disc":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
        elif look.shape == "square":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=ink)
        else:
            draw.line((x - r, y - r, x + r, y + r), fill=ink, width=6)
            draw.line((x - r, y + r, x + r, y - r), fill=ink, width=6)
    return _encode(rng, image)


def _encode(rng: random.Random, image: Image.Image) -> bytes:
    """The image's file: mostly a plain JPEG, sometimes another format, mode or orientation."""
    kind = rng.choices(["RGB", "L", "CMYK", "upside down", "P", "RGBA", "16 bit"], [76] + [4] * 6)[
        0
    ]
    file = io.BytesIO()
    if kind in ("L", "CMYK"):
        image.convert(kind).save(file, "JPEG", quality=85)
    elif kind == "upside down":
        exif = Image.Exif()
        exif[0x0112] = 3  # the tag Orientation: turned by 180 degrees
        image.rotate(180).save(file, "JPEG", quality=85, exif=exif)
    elif kind == "P":
        image.quantize(32).save(file, "GIF")
    elif kind == "RGBA":
        image.putalpha(rng.randint(120, 255))
        image.save(file, "PNG")
    elif kind == "16 bit":
        Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=85)
    return file.getvalue()

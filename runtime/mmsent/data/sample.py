"""A synthetic dataset in the task's layout, for demonstrations and tests.

Text and image each carry the label, and each is sometimes wrong, so that a model of both beats a
model of one. A file lists the words and the patch that carry it, so that explanations can be
checked. As in real data, some texts are GB18030, and some images are not in the format of their
name.
"""

import csv
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

SHAPES = ("cross", "square", "disc")
FILLER = "the a my this today we at with new on city people just so photo day and it".split()
TRUTHFUL = 0.8  # how often a text, or an image, carries the pair's own label
PATCH = 0.3  # the patch's share of the image's width and height
SIGNALS = "signals.csv"
"""The file that lists what carries which label in each pair."""


@dataclass(frozen=True)
class Look:
    """What the pairs of a label look like; ``share``: the approximate share of the pairs.

    ``words`` appear in the text, a patch of the ``colour`` with the ``shape`` in the image.
    """

    words: Sequence[str]
    colour: Sequence[int]
    shape: str
    share: float


SENTIMENT_LOOKS = {
    "negative": Look(
        "awful sad angry broken lost rain tired crash fear alone ruined worst".split(),
        (20, 40, 130),
        "cross",
        0.3,
    ),
    "neutral": Look(
        "report office schedule street number update table weekly notice list".split(),
        (200, 40, 120),
        "square",
        0.2,
    ),
    "positive": Look(
        "happy love great sunny win smile party beautiful proud thanks best fun".split(),
        (250, 215, 60),
        "disc",
        0.5,
    ),
}

NOTICE = """This dataset is synthetic.

`mmsent sample-data` generated it: the texts are random words, the images are random shapes. It has
the layout of the real task and exercises the same code. A score on it says nothing about real
tweets.

`signals.csv` lists what carries the label: some words of the text, and a coloured patch of the
image, whose left, top, right and bottom are shares of the width and height. `text_label` and
`image_label` are the labels that they stand for, which are not always the pair's.
"""


def write_sample_data(
    folder: Path, *, pairs: int = 400, seed: int = 0, labels: Sequence[str] = SENTIMENTS
) -> tuple[int, int]:
    """Write ``pairs`` labelled pairs, and an eighth as many unlabelled ones.

    Returns both numbers. The same ``seed`` writes the same dataset.
    Raises InputError if ``folder`` exists and is not empty, or a label is invalid.
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
    tags = [label for label in labels for _ in range(3)]  # enough of each label to split
    tags += rng.choices(labels, shares, k=max(0, pairs - len(tags)))
    tags = tags[:pairs]
    rng.shuffle(tags)
    tags += rng.choices(labels, shares, k=unlabelled)
    signals = []
    for guid, tag in zip(guids, tags):
        text_label, image_label = (_shown(rng, tag, looks) for _ in range(2))
        text, words = _text(rng, looks[text_label])
        image, patch = _image(rng, looks[image_label])
        Path(text_file(folder, guid)).write_bytes(text)
        Path(image_file(folder, guid)).write_bytes(image)
        signals.append((guid, text_label, " ".join(words), image_label, *patch))
    _write_signals(folder / SIGNALS, signals)
    rows = [f"{guid},{tag}" for guid, tag in zip(guids, tags)]
    open_rows = [f"{guid},null" for guid in guids[pairs:]]
    _write_list(folder / TRAIN_LIST, rows[:pairs])
    _write_list(folder / TEST_LIST, open_rows)
    return pairs, unlabelled


def _write_list(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(["guid,tag", *rows]) + "\n", encoding="utf-8")


def _write_signals(path: Path, rows: Sequence[Sequence[object]]) -> None:
    header = ("guid", "text_label", "words", "image_label", "left", "top", "right", "bottom")
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _looks(labels: Sequence[str], seed: int) -> dict[str, Look]:
    """The look of each label; words and colours of labels other than sentiments are random."""
    for label in labels:
        if fault := label_fault(label):
            raise InputError(f"the labels {','.join(labels)}: {fault}")
    if len(set(labels)) < max(2, len(labels)):
        raise InputError(f"the labels {','.join(labels)}: name at least two, all different")
    if are_sentiments(labels):
        return {label: SENTIMENT_LOOKS[label] for label in labels}
    rng = random.Random(seed)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return {
        label: Look(
            words=["".join(rng.choices(syllables, k=3)) for _ in range(12)],
            colour=rng.choices(range(40, 220), k=3),
            shape=SHAPES[place % len(SHAPES)],
            share=1 / len(labels),
        )
        for place, label in enumerate(labels)
    }


def _shown(rng: random.Random, label: str, looks: Mapping[str, Look]) -> str:
    return label if rng.random() < TRUTHFUL else rng.choice([*looks])


def _text(rng: random.Random, look: Look) -> tuple[bytes, list[str]]:
    """The content of a text file, and the words in it that carry the label."""
    carriers = rng.choices(look.words, k=2)
    words = rng.choices(FILLER, k=rng.randint(3, 12)) + carriers
    rng.shuffle(words)
    text = " ".join(words)
    if rng.random() < 0.15:
        carriers.append(rng.choice(look.words))
        text += f" #{carriers[-1]}"
    if rng.random() < 0.2:  # quotes and an ellipsis as Chinese tools write them
        return f"“{text}”…\n".encode("gb18030"), carriers
    return f"{text} {rng.choice(['!', '.', '?', ''])}\n".encode(), carriers


def _image(rng: random.Random, look: Look) -> tuple[bytes, tuple[float, ...]]:
    """An image, and the left, top, right and bottom of the patch that carries the label.

    The rest of it is muted shapes without meaning.
    """
    size = rng.randint(80, 360), rng.randint(80, 360)
    image = Image.new("RGB", size, _muted(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 7)):
        x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randint(8, 40)
        _draw(draw, rng.choice(SHAPES), (x - r, y - r, x + r, y + r), _muted(rng))
    width, height = (round(PATCH * edge) for edge in size)
    left, top = rng.randint(0, size[0] - width), rng.randint(0, size[1] - height)
    colour = tuple(min(255, max(0, c + rng.randint(-20, 20))) for c in look.colour)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    inner = left + width // 4, top + height // 4, left + width * 3 // 4, top + height * 3 // 4
    _draw(draw, look.shape, inner, (255, 255, 255))
    shares = left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1]
    return _encode(rng, image), tuple(round(share, 4) for share in shares)


def _muted(rng: random.Random) -> tuple[int, ...]:
    """An almost grey colour."""
    grey = rng.randint(95, 160)
    return tuple(grey + rng.randint(-15, 15) for _ in range(3))


def _draw(
    draw: ImageDraw.ImageDraw, shape: str, box: tuple[int, ...], ink: tuple[int, ...]
) -> None:
    left, top, right, bottom = box
    if shape == "disc":
        draw.ellipse(box, fill=ink)
    elif shape == "square":
        draw.rectangle(box, fill=ink)
    else:
        draw.line((left, top, right, bottom), fill=ink, width=6)
        draw.line((left, bottom, right, top), fill=ink, width=6)


def _encode(rng: random.Random, image: Image.Image) -> bytes:
    """The content of an image file: mostly JPEG, sometimes another format, mode or orientation."""
    kind = rng.choices(["RGB", "L", "CMYK", "upside down", "P", "RGBA", "16 bit"], [76] + [4] * 6)[
        0
    ]
    file = io.BytesIO()
    if kind in ("L", "CMYK"):
        image.convert(kind).save(file, "JPEG", quality=85)
    elif kind == "upside down":
        exif = Image.Exif()
        exif[0x0112] = 3  # Orientation: rotated by 180 degrees
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

"""What is fuzzed: each target takes any bytes and holds what must be true of all of them.

InputError is the answer to bad input; anything else that is raised is a fault.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from mmsent.bundle.session import open_bundle
from mmsent.data.dataset import LABELS, Row, find_duplicates, image_of, read_list, text_of
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text, encode_texts, pad_ids
from mmsent.predict.infer import read_items

FOLDER = Path(tempfile.mkdtemp(prefix="mmsent-fuzz-", dir="/dev/shm"))
WORDS = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2, "day": 3}, unk_token="[UNK]"))
WORDS.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def read(data: bytes) -> None:
    """A list: every row is one that is safe to use, and every other one is named."""
    path = FOLDER / "list.csv"
    path.write_bytes(data)
    for labelled in (False, True):
        problems: list[Problem] = []
        try:
            rows = list(read_list(path, problems, labelled=labelled))
        except InputError:
            continue
        for row in rows:
            assert row.guid == row.guid.strip() != ""
            assert not set(row.guid) & set("/\\:\0\n\r\t\x1b")
            assert row.guid not in (".", "..")
            assert row.guid[0] != "="
            assert not labelled or row.label in LABELS
        for problem in [*problems, *find_duplicates(rows, path.name)]:
            assert problem.line > 0
            str(problem).encode()


def text(data: bytes) -> None:
    """A text: what is decoded is a proper string, and no character of it is lost."""
    try:
        decoded, encoding = decode_text(data)
    except InputError:
        return
    decoded.encode()
    if encoding == "utf-8":
        assert decoded in data.decode()
    ids = encode_texts(WORDS, [decoded])
    pad_ids([[*ids[0], 1]])


def image(data: bytes) -> None:
    """An image: pixels of the wanted shape."""
    try:
        pixels = load_image(data, ImageSettings(8, "crop" if len(data) % 2 else "stretch"))
    except InputError as error:
        str(error).encode()
        return
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


def bundle(data: bytes) -> None:
    """A bundle: it opens and predicts, or says why not."""
    from mmsent.predict.model import SentimentModel

    path = FOLDER / "model.onnx"
    path.write_bytes(data)
    try:
        open_bundle(path, threads=1)
        model = SentimentModel(path, threads=1)
        size = model.info.image.size
        prediction = model.predict("a day", np.zeros((size, size, 3), np.uint8))
    except MmsentError as error:
        str(error).encode()
        return
    assert prediction.label in model.labels


def parquet(data: bytes) -> None:
    """A Parquet file: what a row brings along is text and bytes, or it is told what is wrong."""
    path = FOLDER / "pairs.parquet"
    path.write_bytes(data)
    try:
        for item in read_items(path):
            if isinstance(item, Problem):
                str(item).encode()
                continue
            assert isinstance(item, Row)
            assert not set(item.guid) & set("/\\:\0\n\r\t\x1b")
            for part, kind in ((text_of, tuple), (image_of, bytes)):
                with suppress(InputError):
                    assert isinstance(part(FOLDER, item), kind)
    except InputError as error:
        str(error).encode()


TARGETS = {"list": read, "text": text, "image": image, "bundle": bundle, "parquet": parquet}

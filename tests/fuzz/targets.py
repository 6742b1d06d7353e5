"""The fuzz targets: each takes any bytes and checks what must be true for all of them.

Bad input raises InputError; any other exception is a bug.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from mmsent.bundle.session import open_bundle
from mmsent.data.dataset import mark_duplicates, open_dataset
from mmsent.data.labels import label_fault
from mmsent.data.pair import File, Pair
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text, pad_ids, tokenize

FOLDER = Path(tempfile.mkdtemp(prefix="mmsent-fuzz-", dir="/dev/shm"))
WORDS = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2, "day": 3}, unk_token="[UNK]"))
WORDS.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def read(data: bytes, name: str = "list.csv") -> None:
    """A list: every row is either safe to use or reported."""
    path = FOLDER / name
    path.write_bytes(data)
    for labelled in (False, True):
        try:
            rows = list(mark_duplicates(open_dataset(path).rows(labelled=labelled)))
        except InputError:
            continue
        for row in rows:
            if isinstance(row, Problem):
                assert row.line > 0
                str(row).encode()
                continue
            assert row.guid == row.guid.strip() != ""
            assert not set(row.guid) & set("\0\n\r\t\x1b")
            if isinstance(row.text, File):  # its file name contains the guid
                assert not set(row.guid) & set("/\\:")
                assert row.guid not in (".", "..")
            elif not row.lacks("text"):
                row.read_text().encode()
            (row.label or "").encode()
            for part in ("text", "image"):
                with suppress(InputError):
                    row.read(part)
            assert row.guid[0] != "="
            assert not labelled or label_fault(str(row.label)) is None


def text(data: bytes) -> None:
    """A text: it decodes to a valid string without losing characters."""
    try:
        decoded, encoding = decode_text(data)
    except InputError:
        return
    decoded.encode()
    if encoding == "utf-8":
        assert decoded in data.decode()
    ids = tokenize(WORDS, [decoded])
    pad_ids([[*ids[0], 1]])


def image(data: bytes) -> None:
    """An image: the pixels have the requested shape."""
    try:
        pixels = load_image(data, ImageSettings(8, "crop" if len(data) % 2 else "stretch"))
    except InputError as error:
        str(error).encode()
        return
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


def bundle(data: bytes) -> None:
    """A bundle: it opens and predicts, or is refused with a reason."""
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
    """A Parquet file: a row contains text and bytes, or is reported."""
    path = FOLDER / "pairs.parquet"
    path.write_bytes(data)
    try:
        for item in open_dataset(path).rows():
            if isinstance(item, Problem):
                str(item).encode()
                continue
            assert isinstance(item, Pair)
            assert not set(item.guid) & set("/\\:\0\n\r\t\x1b")
            with suppress(InputError):
                assert isinstance(item.read_text(), str)
            with suppress(InputError):
                assert isinstance(item.read("image"), bytes)
    except InputError as error:
        str(error).encode()


def json_lines(data: bytes) -> None:
    """A list in JSON Lines, with the same checks."""
    read(data, "list.jsonl")


TARGETS = {
    "list": read, "json_lines": json_lines, "text": text, "image": image, "bundle": bundle,
    "parquet": parquet,
}  # fmt: skip

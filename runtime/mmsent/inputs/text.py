"""Text: from the bytes of a file to token ids."""

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mmsent.errors import InputError
from mmsent.files.shortage import raise_shortage

# GB18030 includes GBK and GB2312, in which Chinese tools wrote the task's texts.
ENCODINGS = ("utf-8", "gb18030")

PAD_ID = 0  # every model masks padding, so any id works

MAX_TOKENIZED_BYTES = 1 << 16
"""The rest of a longer text, in UTF-8, is not tokenized; it would be truncated anyway.

A tokenizer processes the whole text before it truncates it to the model's maximum length, which is
at most 1024 tokens. This is 64 bytes per token; real text has four or five.
"""

MAX_GROWTH = 256
"""How many times longer the replacements of a tokenizer may make a text.

Real ones replace a few characters by the three bytes of "▁". Some of 1,000 characters, one after
the other, would take all memory.
"""


def decode_text(data: bytes) -> tuple[str, str]:
    """Decode a text file: UTF-8, otherwise GB18030. Returns the text and the encoding's name.

    A byte-order mark is dropped, and the text is stripped.
    Raises InputError if the bytes are neither.
    """
    for encoding in ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.removeprefix("\ufeff").strip(), encoding
    raise InputError("the text is neither UTF-8 nor GB18030; save it as UTF-8")


def read_tokenizer(text: str, *, max_length: int) -> Tokenizer:
    """The tokenizer of a tokenizer.json, which truncates to ``max_length`` tokens and does not pad.

    Raises ValueError if it is malformed, or its replacements can make a text too long.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
    except BaseException as error:  # the library raises plain Exception, and panics
        _reraise_other(error)
        raise_shortage(error)
        raise ValueError(str(error)) from None
    if tokenizer.normalizer is not None:
        normalizer = json.loads(tokenizer.normalizer.__getstate__())
        if _growth(normalizer) > MAX_GROWTH:
            raise ValueError(f"its replacements make texts over {MAX_GROWTH} times longer")
    truncation = tokenizer.truncation
    if truncation is None or truncation["max_length"] > max_length:
        tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer


def _growth(normalizer: dict[str, Any]) -> int:
    """How many times longer in UTF-8 the replacements of a normalizer can make a text, at most."""
    if normalizer["type"] == "Sequence":
        return math.prod(map(_growth, normalizer["normalizers"]))
    if normalizer["type"] == "Precompiled":  # a table of sequences that end with a zero byte
        table = base64.b64decode(normalizer["precompiled_charsmap"])
        return 1 + max(map(len, table[4 + int.from_bytes(table[:4], "little") :].split(b"\0")))
    added = len((normalizer.get("content") or normalizer.get("prepend") or "").encode())
    replaced = len(normalizer.get("pattern", {}).get("String", "").encode())
    return math.ceil(added / replaced) or 1 if replaced else 1 + added  # a Regex may match nothing


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, unpadded; the tokenizer adds special tokens and truncates.

    It sees the first MAX_TOKENIZED_BYTES of a text.
    Raises InputError if the tokenizer fails, for example on a pattern of its own.
    """
    try:
        encodings = tokenizer.encode_batch_fast([_shorten(text) for text in texts])
        return [encoding.ids for encoding in encodings]
    except BaseException as error:
        _reraise_other(error)
        raise_shortage(error)
        raise InputError(f"the bundle's or run's tokenizer fails on a text ({error})") from None


def _shorten(text: str) -> str:
    """The characters of ``text`` that fit completely into MAX_TOKENIZED_BYTES."""
    if len(text) * 4 <= MAX_TOKENIZED_BYTES:  # the most bytes of a character
        return text
    text = text[:MAX_TOKENIZED_BYTES]
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_TOKENIZED_BYTES:
        return text
    return data[:MAX_TOKENIZED_BYTES].decode("utf-8", "ignore")


def _reraise_other(error: BaseException) -> None:
    """Re-raise errors that are not the tokenizers library's, such as KeyboardInterrupt.

    A panic in its Rust code arrives as a BaseException of its own type.
    """
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def pad_ids(
    sequences: Sequence[Sequence[int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Stack sequences of ids into ``input_ids`` and ``attention_mask``, int64 [batch, longest]."""
    lengths = [len(ids) for ids in sequences]
    shape = (len(sequences), max(lengths))
    input_ids = np.full(shape, PAD_ID, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for row, ids in enumerate(sequences):
        input_ids[row, : lengths[row]] = ids
        attention_mask[row, : lengths[row]] = 1
    return input_ids, attention_mask

"""Bundles with bad metadata or a bad tokenizer."""

import base64
import json

import pytest

from mmsent.bundle.info import INFO_KEY, TOKENIZER_KEY

from ...small_bundle import SIZE, small_model
from .cases import refused, spoil_bundle


def metadata(model, key, value):
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = value


INFO = json.loads(next(e.value for e in small_model().metadata_props if e.key == INFO_KEY))


def info(**changes):
    return json.dumps(INFO | changes)


@pytest.mark.parametrize(
    "value",
    [
        "", "{", "null", "[]", "3", '"text"', "{}", "[" * 100_000, '{"a":' * 50_000, "1" * 10_000,
        "NaN", '{"format": 2}', info(format=1), info(format=3), info(format="1"), info(format=None),
        info(labels=[]), info(labels=["a"]), info(labels=["a", "a", "b"]), info(labels="abc"),
        info(labels=None), info(labels=[1, 2, 3]), info(labels=["=1+1", "b", "c"]),
        info(labels=["a\nb", "b", "c"]), info(labels=["", "b", "c"]),
        info(labels=["x" * 99, "b", "c"]),
        info(labels=["\u001b[2J", "b", "c"]), info(labels={"a": 1}), info(labels=[["a"], "b", "c"]),
        info(labels=["\ufeffa", "b", "c"]),
        info(labels=["a", "b"]), info(labels=["a", "b", "c", "d"]),
        info(text=None), info(text={}), info(text={"max_length": 0}), info(text={"max_length": -1}),
        info(text={"max_length": 10**9}), info(text={"max_length": "8"}),
        info(text={"max_length": True}), info(text={"max_length": 2.5}),
        info(image=None), info(image={}), info(image={"size": 10**9}), info(image={"size": 0}),
        info(image={"size": -8}), info(image={"size": "8"}), info(image={"size": [8]}),
        info(image={"size": SIZE, "resize": "evil"}), info(image={"size": SIZE, "filter": "evil"}),
        info(image={"size": SIZE, "filter": None}),
        info(image={"size": SIZE, "filter": []}), info(image={"size": SIZE, "resize": {}}),
        info(image={"size": SIZE, "extra": 1}), info(image={"size": 16}), info(image=[8]),
        info(digests=3), info(digests=None), info(digests=["a"]), info(digests="A" * 1_000_001),
    ],
    ids=range(59),
)  # fmt: skip
def test_bad_description(run_command, dataset, value):
    spoil_bundle(dataset, lambda model: metadata(model, INFO_KEY, value))
    refused(run_command, dataset, "model.onnx")


TOKENIZER = json.loads(
    next(e.value for e in small_model().metadata_props if e.key == TOKENIZER_KEY)
)


def tokenizer(**changes):
    return json.dumps(TOKENIZER | changes)


# A trie of one node, and what it maps to, each with a zero byte: SentencePiece's format.
TABLE = base64.b64encode(bytes([4, 0, 0, 0, 0, 0, 0, 0]) + b"x" * 256 + b"\0").decode()


def replacing(content):
    """A normalizer that replaces each "a"."""
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


@pytest.mark.parametrize(
    "value",
    [
        "", "{", "null", "[]", "{}", "3", "[" * 100_000, tokenizer(model=None), tokenizer(model={}),
        tokenizer(version="9"), tokenizer(version=None), tokenizer(other=1),
        tokenizer(model={"type": "Evil"}), tokenizer(added_tokens=3),
        tokenizer(model={"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}),
        tokenizer(model={"type": "WordLevel", "vocab": {"a": 2**40}, "unk_token": "a"}),
        tokenizer(model={"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}),
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed",
                                 "invert": False}),
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        tokenizer(truncation={"max_length": "8"}), tokenizer(post_processor={"type": "Evil"}),
        tokenizer(decoder=7), tokenizer(normalizer=replacing("x" * 257)),
        tokenizer(normalizer={"type": "Prepend", "prepend": "x" * 257}),
        tokenizer(normalizer={"type": "Sequence", "normalizers": [replacing("x" * 7)] * 3}),
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": TABLE}),
    ],
    ids=range(26),
)  # fmt: skip
def test_bad_tokenizer(run_command, dataset, value):
    spoil_bundle(dataset, lambda model: metadata(model, TOKENIZER_KEY, value))
    refused(run_command, dataset, f"the metadata {TOKENIZER_KEY} is malformed")

"""Python's results for texts, images, pairs and hostile bundles, for the npm package's tests.

    python -m web.test.fixtures tokens|images|predictions|bundles FOLDER

It writes FOLDER/KIND.json and the files that it names.
"""

import base64
import contextlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from mmsent import InputError, MmsentError, SentimentModel
from mmsent.bundle.info import INFO_KEY, TOKENIZER_KEY
from mmsent.bundle.seal import is_whole, seal
from mmsent.data.dataset import open_dataset
from mmsent.data.pair import Pair
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text, read_tokenizer, tokenize
from mmsent_training.models.light import train_tokenizer
from tests.command import command
from tests.end_to_end.hostile import test_bundle_files, test_bundle_graph, test_bundle_metadata
from tests.small_bundle import small_model, write_small_bundle
from tests.training.clip_checkpoint import make_tokenizer, write_checkpoint
from web.test.pictures import draw_files

TEXTS: list[str] = [
    *json.loads(Path(__file__).with_name("texts.json").read_text()),
    *("x" * 150, "word " * 300, "é " * 30_000, "a" + "中 " * 20_000),
]


WORDS = ["", "happy day !", "the worst rain today", "just so tired . awful", "great party " * 60]
SWEPT = ("light by characters", "clip", "uncased")
"""One of each kind reads every code point."""


def assigned() -> list[str]:
    """Every assigned code point except private ones, and only some of Han and Hangul."""
    unassigned = ("Cn", "Cs", "Co")
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not is_many(i) or i % 32 == 0]
    return [c for c in characters if unicodedata.category(c) not in unassigned]


def is_many(point: int) -> bool:
    """Whether a code point is one of thousands of similar ones."""
    return any(a <= point <= b for a, b in ((0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0x17000, 0x323AF)))


def tokens(folder: Path) -> dict[str, Any]:
    """Token ids of texts, and of every assigned code point, by each kind of tokenizer."""
    characters = assigned()
    lines = [f"x{c} !{c}" for c in characters]
    sweep = [" ".join(lines[i : i + 16]) for i in range(0, len(lines), 16)]
    found = {}
    for name, tokenizer in tokenizers(characters).items():
        text = tokenizer.to_str()
        (folder / f"{name}.json").write_text(text)
        opened = read_tokenizer(text, max_length=1024)
        found[name] = {
            "texts": tokenize(opened, TEXTS),
            "sweep": tokenize(opened, sweep) if name in SWEPT else None,
            "short": tokenize(read_tokenizer(text, max_length=7), TEXTS),
        }
    return {"texts": TEXTS, "sweep": sweep, "tokenizers": found, "files": files(folder)}


def tokenizers(characters: list[str]) -> dict[str, Tokenizer]:
    """Each kind of tokenizer, with a vocabulary that distinguishes characters."""
    light = train_tokenizer(TEXTS * 3, max_length=1024, preset="default")
    reference = train_tokenizer(TEXTS * 3, max_length=1024, preset="reference")
    vocab = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    for token in (*characters, *(f"##{c}" for c in characters)):
        vocab[token] = len(vocab)
    pieces = {}
    for name, lowercase in (("uncased", True), ("cased", False)):
        wordpiece = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        wordpiece.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        wordpiece.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        wordpiece.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
        pieces[name] = wordpiece
    characters_of_light = Tokenizer.from_str(light.to_str())
    letters = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[START]", "▁", *characters])}
    characters_of_light.model = models.BPE(letters, [], unk_token="[UNK]")
    return {
        "light": light,
        "light by characters": characters_of_light,
        "reference": reference,
        "clip": with_whole_alphabet(make_tokenizer()),
        **pieces,
    }


def with_whole_alphabet(clip: Tokenizer) -> Tokenizer:
    """The small tokenizer with every byte also at the end of a word, as in CLIP's."""
    spec = json.loads(clip.to_str())
    vocab = spec["model"]["vocab"]
    for token in spec["added_tokens"]:
        vocab[token["content"]] = token["id"]
    for byte in pre_tokenizers.ByteLevel.alphabet():
        vocab.setdefault(f"{byte}</w>", max(vocab.values()) + 1)
    return Tokenizer.from_str(json.dumps(spec))


def files(folder: Path) -> dict[str, Any]:
    """Bytes of text files, and their texts; null for files that are refused."""
    contents = [
        b"a day",
        b"\xef\xbb\xbfa day\r\n",
        "“中文”…".encode("gb18030"),
        "𠀀é".encode("gb18030"),
        b"\x80abc",
        b"caf\xe9",
        b"\xff\xfea\x00",
        b"",
        b"\x1c\x1d x \x85",
        b"\x81",
        "\x85\ufeff x".encode(),
        bytes(range(0x81, 0xFF)),
        b"\xa1\xa1\xa8\xbf",
        b"a\xd6\xd0\x80",
    ]
    found = []
    for content in contents:
        try:
            text = decode_text(content)[0]
        except InputError:
            text = None
        found.append([base64.b64encode(content).decode(), text])
    return {"decoded": found}


SETTINGS = [
    ImageSettings(48, resize, filter)
    for resize in ("stretch", "crop")
    for filter in ("bilinear", "bicubic")
]


def images(folder: Path) -> dict[str, Any]:
    """Image files of every kind, and their pixels in every setting, or the error."""
    found = {}
    for name, content in draw_files():
        (folder / name).write_bytes(content)
        pixels: list[str] | str = []
        try:
            pixels = [
                base64.b64encode(load_image(content, settings).tobytes()).decode()
                for settings in SETTINGS
            ]
        except InputError as error:
            pixels = str(error)
        found[name] = pixels
    settings = [vars(one) for one in SETTINGS]
    return {"settings": settings, "images": found}


def predictions(folder: Path) -> dict[str, Any]:
    """Small bundles, trained or not, and their predictions for pairs, also incomplete ones."""
    run("mmsent", "sample-data", "data", "--pairs", 40, cwd=folder)
    write_checkpoint(folder / "checkpoint")
    for name, options in (("light", []), ("clip", ["--clip", folder / "checkpoint"])):
        options += ["--model", name, "--epochs", 1, "--data", "data"]
        run("mmsent", "train", *options, "--output", name, cwd=folder)
        run("mmsent-export", "onnx", name, "--output", f"{name}.onnx", cwd=folder)
    options = ["--precision", "int8", "--output", "light-int8.onnx"]
    run("mmsent-export", "onnx", "light", *options, cwd=folder)
    write_small_bundle(folder / "small.onnx", optional=("text", "image"), embeddings=True)
    write_small_bundle(folder / "strict.onnx")
    rows = open_dataset(folder / "data/test_without_label.txt").rows()
    pairs = [row for row in rows if isinstance(row, Pair)]
    texts = [*(pair.read_text() for pair in pairs), *WORDS]
    photos = [f"data/data/{pair.guid}.jpg" for pair in pairs]
    photos = [name for name in photos if Image.open(folder / name).mode != "CMYK"]
    photos = [photos[i % len(photos)] for i in range(len(texts))]
    found = {
        name: predicted(folder, name, texts, photos)
        for name in ("light", "clip", "light-int8", "small")
    }
    return {"texts": texts, "images": photos, "models": found}


def run(*arguments: object, cwd: Path) -> None:
    result = command(*arguments, cwd=cwd)
    if result.code:
        raise SystemExit(f"{arguments}: {result.err}")


def predicted(folder: Path, name: str, texts: list[str], photos: list[str]) -> dict[str, Any]:
    model = SentimentModel(folder / f"{name}.onnx", threads=1, device="cpu")
    images = [folder / photo for photo in photos]
    kinds: dict[str, tuple[Any, Any]] = {"whole": (texts, images)}
    if "image" in model.info.optional:
        kinds["text"] = (texts, None)
    if "text" in model.info.optional:
        kinds["image"] = (None, images)
    return {
        "sha256": model.identity,
        "labels": model.labels,
        "optional": model.info.optional,
        "image": vars(model.info.image),
        "predictions": {
            kind: [vars_of(prediction) for prediction in model.predict(*pair)]
            for kind, pair in kinds.items()
        },
    }


def vars_of(prediction: Any) -> dict[str, Any]:
    names = ("label", "probabilities", "logits")
    return {name: getattr(prediction, name) for name in names}


def bundles(folder: Path) -> dict[str, Any]:
    """Hostile bundles of the end-to-end tests, and how Python refuses each."""
    whole = write_small_bundle(folder / "whole.onnx").read_bytes()
    found = {}
    for number, content in enumerate(hostile(whole)):
        path = folder / f"{number}.onnx"
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # it has no entry for a seal
            seal(path)
        found[path.name] = refusal(path)
    damaged = folder / "damaged.onnx"
    damaged.write_bytes(whole.replace(b"negative", b"negativf"))
    assert not is_whole(damaged)
    return {"bundles": found}


def hostile(whole: bytes) -> Iterator[bytes]:
    """The contents of all files that the hostile tests use as bundles."""
    for share in np.linspace(0, 0.99, 12):
        yield whole[: int(len(whole) * share)]
    for (content,) in cases(test_bundle_files.test_not_a_bundle):
        yield content
    for change, _ in cases(test_bundle_graph.test_bad_graph):
        model = small_model()
        yield change(model) or model.SerializeToString()
    keys = {
        INFO_KEY: test_bundle_metadata.test_bad_description,
        TOKENIZER_KEY: test_bundle_metadata.test_bad_tokenizer,
    }
    for key, test in keys.items():
        for (value,) in cases(test):
            model = small_model()
            set_metadata: Callable[..., None] = test_bundle_metadata.metadata
            set_metadata(model, key, value)
            yield model.SerializeToString()
        model = small_model()
        kept = [entry for entry in model.metadata_props if entry.key != key]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        yield model.SerializeToString()


def cases(test: Any) -> list[tuple[Any, ...]]:
    """The arguments that pytest gives to a parametrized test."""
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")
    values = mark.args[1]
    bare = [getattr(value, "values", value) for value in values]  # from pytest.param
    return [value if isinstance(value, tuple) else (value,) for value in bare]


def refusal(path: Path) -> str:
    """Why Python refuses a bundle, on opening or predicting; "" if it does not."""
    try:
        model = SentimentModel(path.read_bytes(), threads=1, device="cpu")
        model.predict(["a fun day", "rain"], [np.zeros((9, 9, 3), np.uint8)] * 2)
    except MmsentError as error:
        return str(error)
    return ""


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tokens": tokens,
    "images": images,
    "predictions": predictions,
    "bundles": bundles,
}


def main() -> None:
    """Write the fixtures of a kind."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    (folder / f"{kind}.json").write_text(json.dumps(KINDS[kind](folder)))


if __name__ == "__main__":
    main()

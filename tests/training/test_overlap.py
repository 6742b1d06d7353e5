"""How an evaluation reports pairs that the model was trained on, and their digests."""

import base64
import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest

from mmsent import SentimentModel
from mmsent.bundle.info import INFO_KEY, MAX_DIGESTS
from mmsent.data.folder import image_file
from mmsent.data.training import TrainingSource
from mmsent_training.digests import Digests, make_digests
from mmsent_training.examples import Examples

from ..small_bundle import small_model
from .posts import write_lines


def evaluate(run_command, data, bundle, *arguments, cwd):
    arguments = ("--data", data, "--model", bundle, *arguments)
    return run_command("mmsent", "evaluate", *arguments, cwd=cwd)


def test_on_all_pairs_it_counts_those_seen_in_training(run_command, sample, bundle, tmp_path):
    """Without them, the score is that on the validation pairs, up to rounding in other batches."""

    def read(printed):
        return json.loads(printed, parse_float=lambda number: round(float(number), 5))

    result = evaluate(run_command, sample, bundle, "--split", "all", "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    overlap = read(result.out)["overlap"]
    unseen = overlap.pop("unseen")
    assert overlap == {"pairs": 72, "images": 0, "texts": 0, "every": 1, "validated": 8}
    validation = evaluate(run_command, sample, bundle, "--json", cwd=tmp_path)
    scores = read(validation.out)
    assert scores["overlap"]["unseen"] is None
    assert {name: scores[name] for name in unseen} == unseen
    table = evaluate(run_command, sample, bundle, "--split", "all", cwd=tmp_path).out
    assert "seen in training: 72 of these pairs" in table
    assert f"without those: accuracy {unseen['accuracy']:.3f}" in table


@pytest.fixture(scope="module")
def pairs(sample, trained):
    """Pairs that the bundle was trained on."""
    rows = (trained / "validation_predictions.csv").read_text().splitlines()
    held_out = {row.split(",")[0] for row in rows}
    labelled = TrainingSource(sample).read().train
    return [pair for pair in labelled if pair.guid not in held_out]


@pytest.mark.parametrize(
    ("text", "image", "seen"),
    [
        ("same", "same", "pairs"),
        ("other white space", "same", "pairs"),
        ("other case", "same", "images"),
        ("new", "same", "images"),
        ("another's", "same", "images"),
        ("empty", "same", "images"),
        ("same", "new", "texts"),
        ("new", "new", None),
        ("empty", "new", None),
    ],
)
def test_shared_parts(run_command, bundle, sample, pairs, tmp_path, text, image, seen):
    mine, other = pairs[:2]
    texts = {
        "same": mine.read_text(), "other white space": "\t" + mine.read_text().replace(" ", "  \n"),
        "other case": mine.read_text().swapcase(), "new": "never seen", "empty": "",
        "another's": other.read_text(),
    }  # fmt: skip
    shutil.copy(image_file(sample, mine.guid), tmp_path / "same.jpg")
    (tmp_path / "new.jpg").write_bytes((tmp_path / "same.jpg").read_bytes() + b"more")
    posts = [
        {"text": texts[text], "image": f"{image}.jpg", "label": "neutral"},
        {"text": "nothing in common", "image": "new.jpg", "label": "positive"},
    ]
    data = write_lines(tmp_path / "list.jsonl", posts)
    result = evaluate(run_command, data, bundle, "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    overlap = json.loads(result.out)["overlap"]
    counts = {name: overlap[name] for name in ("pairs", "images", "texts")}
    assert counts == dict.fromkeys(counts, 0) | ({seen: 1} if seen else {})
    assert (overlap["unseen"] or {"pairs": None})["pairs"] == (1 if seen else None)


def test_digests_are_left_out_on_request(run_command, few, tmp_path):
    for arguments in (
        ("mmsent", "train", "--model", "light", "--epochs", 1, "--no-digests", "--data", few,
         "--output", "run"),
        ("mmsent-export", "onnx", "run"),
    ):  # fmt: skip
        assert run_command(*arguments, cwd=tmp_path).code == 0
    assert not (tmp_path / "run" / "digests.json").exists()
    assert SentimentModel(tmp_path / "model.onnx", threads=1).info.digests == ""
    result = evaluate(run_command, few, "model.onnx", "--split", "all", "--json", cwd=tmp_path)
    assert json.loads(result.out)["overlap"] is None
    assert "no digests of its training pairs" in result.err


def make_examples(first, count):
    numbers = range(first, first + count)
    images = [hashlib.sha256(b"image %d" % number).digest() for number in numbers]
    texts = [f"text {number}" for number in numbers]
    return Examples([None] * count, texts, np.zeros(count, np.int64), ("a", "b"), [], images)


@pytest.mark.parametrize(
    ("count", "length", "every"),
    [
        (2, 8, 1),
        pytest.param(46_000, 8, 1, marks=pytest.mark.slow),
        (50_000, 7, 1),
        pytest.param(62_000, 6, 1, marks=pytest.mark.slow),
        (63_000, 8, 2),
        pytest.param(500_000, 6, 9, marks=pytest.mark.slow),
    ],
)
def test_digests_stay_small_and_distinguish_pairs(count, length, every):
    examples = make_examples(0, count)
    border = count - count // 10 - 1
    digests = make_digests(examples, range(border), range(border, count))
    assert (digests.length, digests.every) == (length, every)
    assert len(digests.to_json()) <= MAX_DIGESTS
    again = Digests.from_json(digests.to_json())
    assert again == digests
    if count < 100_000:
        seen = again.compare(examples, "training")
        assert seen[:border:every] == ["pair"] * len(range(0, border, every))
        assert set(seen[border:]) == {None}
        assert again.compare(examples, "validation")[border] == "pair"
        assert set(again.compare(make_examples(count, 20_000), "training")) == {None}


def zeros(size):
    return base64.b64encode(bytes(size)).decode()


SOUND = {"length": 8, "every": 1, "training": zeros(16), "validation": ""}
MALFORMED = [
    "{", "null", "[]", "3", "{}", "[" * 100_000, "\ud800",
    *(json.dumps(SOUND | change) for change in (
        {"length": 0}, {"length": 4}, {"length": 9}, {"length": "8"}, {"length": 10**9},
        {"length": None}, {"every": 0}, {"every": "x"}, {"training": "@"}, {"training": 3},
        {"training": "A"}, {"validation": None}, {"training": zeros(749_900)},
    )),
]  # fmt: skip


def bundle_with(path, digests):
    model = small_model()
    for entry in model.metadata_props:
        if entry.key == INFO_KEY:
            entry.value = json.dumps(json.loads(entry.value) | {"digests": digests})
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("digests", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_digests_give_one_message(run_command, sample, tmp_path, digests):
    bundle = bundle_with(tmp_path / "model.onnx", digests)
    result = evaluate(run_command, sample, bundle, "--split", "all", cwd=tmp_path)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert "digests are malformed" in result.err


@pytest.mark.parametrize("size", [16, 17, 0])
def test_odd_digests_match_nothing(run_command, sample, tmp_path, size):
    """Zeros mean no text and no image, which are never shared."""
    digests = json.dumps(SOUND | {"training": zeros(size)})
    bundle = bundle_with(tmp_path / "model.onnx", digests)
    result = evaluate(run_command, sample, bundle, "--split", "all", cwd=tmp_path)
    assert result.code == 0, result.err
    assert "none of these pairs shares its text or image with a training pair" in result.out

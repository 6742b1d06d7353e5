"""`mmsent check-data` refuses exactly what `mmsent train` refuses with the same options."""

import json
import re
import shutil
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmsent.errors import MmsentError

LABELS = ["dog", "cat"] * 10
BEGAN = "the training began"
ROW = re.compile(r"^  (\S+ (?:line|row) \d+)")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twenty pairs with two labels, in the task's folder. Read-only."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "data").mkdir()
    random = np.random.default_rng(0)
    for number, label in enumerate(LABELS):
        (folder / "data" / f"{number}.txt").write_text(f"a {label} called {number}")
        pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "data" / f"{number}.jpg")
    write_list(folder / "train.txt", enumerate(LABELS))
    return folder


@pytest.fixture
def folder(pairs, tmp_path):
    return shutil.copytree(pairs, tmp_path / "dataset")


def write_list(path, rows, columns="guid,tag"):
    lines = (",".join(map(str, row)) for row in rows)
    path.write_text("\n".join([columns, *lines]) + "\n")


def add(folder, *rows):
    """Append rows to the training list; a new guid gets the text and image of an old one."""
    with open(folder / "train.txt", "a") as file:
        for guid, label in rows:
            file.write(f"{guid},{label}\n")
            for old in (folder / "data" / "0.txt", folder / "data" / "0.jpg"):
                if not (new := old.with_stem(str(guid))).exists():
                    shutil.copy(old, new)


def validation_list(folder, *labels):
    write_list(folder / "dev.csv", ((number, label) for number, label in enumerate(labels)))


def own_list(columns):
    """Write a list with these names for the columns of guid, text, image and label."""

    def spoil(folder):
        count = columns.count(",") + 1
        rows = [
            (i, f"text {i}", f"data/{i}.jpg", label, label)[:count]
            for i, label in enumerate(LABELS)
        ]
        write_list(folder / "list.csv", rows, columns)

    return spoil


def without_training_list(folder):
    write_list(folder / "test_without_label.txt", [(0, "null"), (1, "null")])
    (folder / "train.txt").unlink()


def several_labels(folder):
    """Lists with several labels per row, as JSON Lines and Parquet."""
    rows = [{"text": f"text {i}", "label": [label, "pet"]} for i, label in enumerate(LABELS[:5])]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "list.parquet")


def with_split_column(validation, *others):
    """list.csv with a split column; the last rows have ``labels`` and ``others``."""

    def spoil(folder):
        rows = [(i, label, "train") for i, label in enumerate(LABELS)][:16]
        rows += [(16 + i, label, "dev") for i, label in enumerate(validation)]
        rows += [(2, "null", "test"), (3, "", "test"), *others]
        write_list(folder / "list.csv", rows, "guid,tag,split")

    return spoil


GOOD = {
    "as it is": (lambda folder: None, []),
    "a third label": (lambda folder: add(folder, (20, "cow"), (21, "cow"), *(
        (n, "dog") for n in range(22, 32))), []),
    "an empty text": (lambda folder: (folder / "data" / "3.txt").write_text(" "), []),
    "the labels, in another order": (lambda folder: None, ["--labels", "dog,cat"]),
    "its own validation list": (
        lambda folder: validation_list(folder, "dog", "cat"), ["--validation", "dev.csv"]),
    "validation pairs of one label": (
        lambda folder: validation_list(folder, "dog"), ["--validation", "dev.csv"]),
    "a list with a split column": (with_split_column(["dog", "cat"]), ["--data", "list.csv"]),
    "a list with named columns": (
        own_list("guid,tweet,photo,animal"),
        ["--data", "list.csv", "--columns", "text=tweet,label=animal"]),
}  # fmt: skip

BAD = {
    "a label of one pair": (lambda folder: add(folder, (20, "cow")), []),
    "a label in capitals, once": (lambda folder: add(folder, (20, "Dog")), []),
    "one label only": (
        lambda folder: write_list(folder / "train.txt", ((i, "dog") for i in range(20))), []),
    "no pairs": (lambda folder: write_list(folder / "train.txt", []), []),
    "too few pairs for its labels": (
        lambda folder: write_list(folder / "train.txt", enumerate(LABELS[:10])), []),
    "no label": (lambda folder: add(folder, (20, "null"), (21, "")), []),
    "a formula for a label": (lambda folder: add(folder, (20, "=1+1"), (21, "=1+1")), []),
    "a long label": (lambda folder: add(folder, (20, "x" * 65), (21, "x" * 65)), []),
    "the same guid twice": (lambda folder: add(folder, (3, "cat"), (3, "cat"), (4, "dog")), []),
    "a guid that is a fraction": (lambda folder: add(folder, ("3.0", "cat")), []),
    "a text that is not there": (lambda folder: (folder / "data" / "3.txt").unlink(), []),
    "a text in Latin-1": (
        lambda folder: (folder / "data" / "3.txt").write_bytes(b"caf\xe9"), []),
    "an image that is not there": (lambda folder: (folder / "data" / "3.jpg").unlink(), []),
    "two images of a pair": (
        lambda folder: shutil.copy(folder / "data" / "3.jpg", folder / "data" / "3.png"), []),
    "an image that is broken": (
        lambda folder: (folder / "data" / "3.jpg").write_bytes(b"\xff\xd8\xff\xe0"), []),
    "an image that is a page": (
        lambda folder: (folder / "data" / "3.jpg").write_text("<html>not found</html>"), []),
    "several of one kind": (
        lambda folder: [(folder / "data" / f"{i}.jpg").unlink() for i in range(5)], []),
    "a label that --labels lacks": (lambda folder: None, ["--labels", "dog,cow"]),
    "a label of --labels that no pair has": (lambda folder: None, ["--labels", "dog,cat,cow"]),
    "no training list": (without_training_list, ["--labels", "dog,cat"]),
    "a list without a column for the label": (
        own_list("guid,text,image,animal"), ["--data", "list.csv", "--labels", "dog,cat"]),
    "two columns that could be the label": (
        own_list("id,text,image,emotion,sentiment"), ["--data", "list.csv"]),
    "a list of labels in each row": (several_labels, ["--data", "list.jsonl"]),
    "a list of labels in each row of a Parquet": (
        several_labels, ["--data", "list.parquet"]),
    "an unknown split with those for validation and test": (
        with_split_column(["dog", "cat"], (4, "dog", "trian")), ["--data", "list.csv"]),
    "a column that is not there": (
        own_list("guid,text,image,label"), ["--data", "list.csv", "--columns", "label=animal"]),
    "an image outside the dataset": (
        lambda folder: write_list(
            folder / "list.csv",
            [(i, f"text {i}", f"../{i}.jpg", label) for i, label in enumerate(LABELS)][:10],
            "guid,text,image,label"),
        ["--data", "list.csv"]),
    "a foreign label in the validation list": (
        lambda folder: validation_list(folder, "dog", "cow"), ["--validation", "dev.csv"]),
    "an empty validation list": (validation_list, ["--validation", "dev.csv"]),
    "a validation list without labels": (
        lambda folder: validation_list(folder, "dog", "null"), ["--validation", "dev.csv"]),
    "a foreign label in the validation split": (
        with_split_column(["dog", "cow"]), ["--data", "list.csv"]),
    "an unknown split": (
        lambda folder: write_list(
            folder / "list.csv",
            [(i, label, "train" if i else "trian") for i, label in enumerate(LABELS)],
            "guid,tag,split"),
        ["--data", "list.csv"]),
}  # fmt: skip


def no_weights():
    """Report every search for weights."""
    sought = MmsentError("weights were looked for")
    return mock.patch("mmsent_training.models.registry.choose", side_effect=sought)


def run_train(run_command, folder, options):
    """The exit code and message of training that stops before its first epoch."""
    with mock.patch("mmsent_training.train.fit", side_effect=MmsentError(BEGAN)):
        result = run_command(
            "mmsent", "train", "--model", "light", "--output", "../run", *options, cwd=folder
        )
    # Training accepts relative paths and shows absolute ones.
    return result.code, result.err.replace(f"{folder}/", "").replace(str(folder), ".")


UNDECODED = {"an image that is broken", "an image that is a page"}


@pytest.mark.parametrize(
    "name", ["a label of one pair", "a text that is not there", "an empty validation list"]
)
def test_an_ablation_refuses_bad_data_before_it_looks_for_weights(run_command, folder, name):
    spoil, options = BAD[name]
    spoil(folder)
    with no_weights():
        result = run_command("mmsent", "ablate", "--output", "../run", *options, cwd=folder)
    assert result.code == 2, result.err
    assert not (folder.parent / "run").exists()


def run_check(run_command, folder, options):
    result = run_command("mmsent", "check-data", "--json", *options, cwd=folder)
    return result.code, json.loads(result.out) if result.out else {"errors": []}, result.err


@pytest.mark.parametrize("name", GOOD)
def test_training_data_passes(run_command, folder, name):
    spoil, options = GOOD[name]
    spoil(folder)
    code, message = run_train(run_command, folder, options)
    assert code == 1, message
    assert BEGAN in message
    code, report, _ = run_check(run_command, folder, options)
    assert report["errors"] == []
    assert code == 0


@pytest.mark.parametrize("name", BAD)
def test_what_train_refuses_the_check_refuses_for_the_same_rows(run_command, folder, name):
    """Also before it looks for weights, unless images must be decoded to find the problem."""
    spoil, options = BAD[name]
    spoil(folder)
    with nullcontext() if name in UNDECODED else no_weights():
        code, message = run_train(run_command, folder, options)
    assert code == 2, message
    assert not (folder.parent / "run").exists()
    checked, report, checked_message = run_check(run_command, folder, options)
    assert checked == 2
    refused = {match[1] for line in message.splitlines() if (match := ROW.match(line))}
    errors = report["errors"]
    assert len({(error["list"], error["line"], error["message"]) for error in errors}) == len(
        errors
    )
    assert {f"{error['list']} line {error['line']}" for error in errors if error["line"]} == refused
    for error in errors:
        assert error["message"] in message
    assert errors or message.splitlines()[-1] == checked_message.splitlines()[-1]


@pytest.mark.parametrize("part", ["text", "image"])
def test_pairs_that_all_lack_a_part_still_have_their_labels(run_command, folder, part):
    """Only the missing part is reported: no message says that there are no labels."""
    rows = [(f"a {label}", f"data/{i}.jpg", label) for i, label in enumerate(LABELS)]
    place = {"text": 1, "image": 0}[part]
    column = {"text": "image", "image": "text"}[part]
    write_list(folder / "list.csv", [(row[place], row[2]) for row in rows], f"{column},label")
    options = ["--data", "list.csv"]
    code, message = run_train(run_command, folder, options)
    checked, report, _ = run_check(run_command, folder, options)
    assert (code, checked) == (2, 2)
    fault = f"the {part} is missing; `mmsent train --modality {column}` does not need it"
    assert {error["message"] for error in report["errors"]} == {fault}
    assert report["labels"] == {"cat": 10, "dog": 10}
    assert "20 problems in the data" in message
    assert run_check(run_command, folder, [*options, "--modality", column])[0] == 0


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9", "cafe\u0301"), ("1", "\uff11"), ("仇恨", "仇 恨")]
)
def test_labels_that_look_the_same_give_a_warning(run_command, folder, one, other):
    """As macOS and a Chinese keyboard write them."""
    add(folder, *((number, (one, other)[number % 2]) for number in range(20, 40)))
    _, report, _ = run_check(run_command, folder, [])
    warned = [each["message"] for each in report["warnings"] if "Unicode form" in each["message"]]
    assert len(warned) == 1
    assert repr(one) in warned[0]
    assert repr(other) in warned[0]


@pytest.mark.parametrize("labels", [None, "cat,dog,Dog"])
def test_labels_that_differ_only_in_case_give_a_warning(run_command, folder, labels):
    """Unless --labels names both."""
    add(folder, *((number, "Dog") for number in range(20, 30)))
    options = ["--labels", labels] if labels else []
    warning = "the labels 'Dog', 'dog' differ only in case, spaces or Unicode form"
    code, message = run_train(run_command, folder, options)
    assert (code, message.count(warning)) == (1, 0 if labels else 1)
    code, report, _ = run_check(run_command, folder, options)
    assert code == 0
    assert sum(warning in each["message"] for each in report["warnings"]) == (not labels)


def test_the_summary_of_mvsa_labels_is_printed_once(run_command, folder):
    (folder / "train.txt").unlink()
    sentiments = ["positive", "negative"] * 10
    lines = (f"{i}\t{label},{label}" for i, label in enumerate(sentiments))
    (folder / "labelResultAll.txt").write_text("\n".join(["ID\ttext,image", *lines]) + "\n")
    code, message = run_train(run_command, folder, [])
    assert (code, message.count("kept 20 pairs")) == (1, 1)


def test_a_list_to_predict_passes(run_command, folder):
    """`train` refuses it, since it has no labels. A guid in two rows is predicted twice."""
    write_list(folder / "list.csv", [(0, ""), (1, "null"), (1, "")])
    options = ["--data", "list.csv"]
    code, report, _ = run_check(run_command, folder, options)
    assert (code, report["errors"], report["labels"]) == (0, [], {})


def test_a_training_list_and_one_to_predict_are_both_checked(run_command, folder):
    """Training does not read the second one, but inference does."""
    write_list(folder / "test_without_label.txt", [(0, "null"), (99, "null")])
    assert run_train(run_command, folder, [])[0] == 1
    code, report, _ = run_check(run_command, folder, [])
    assert code == 2
    assert {(e["list"], e["line"]) for e in report["errors"]} == {("test_without_label.txt", 3)}


def test_training_warns_of_texts_that_its_tokenizer_does_not_know(run_command, folder):
    """Light's tokenizer is built from the training texts; here each has its own characters."""
    for number in range(len(LABELS)):
        signs = "".join(chr(0x4E00 + 10 * number + place) for place in range(10))
        (folder / "data" / f"{number}.txt").write_text(signs, encoding="utf-8")
    _, message = run_train(run_command, folder, [])
    assert BEGAN in message
    assert "2 of 20 texts are mostly unknown to the model's tokenizer (Han 2)" in message

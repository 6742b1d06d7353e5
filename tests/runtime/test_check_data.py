import json
import os
import shutil

import pytest
from PIL import Image

from mmsent.data.check import accuracy_margin
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST, image_file, text_file

from ..small_bundle import write_small_bundle


@pytest.fixture
def dataset(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "dataset")


def check(run_command, folder, *options):
    result = run_command("mmsent", "check-data", "--json", *options, cwd=folder)
    return result.code, json.loads(result.out)


def write_csv(path, columns, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n")


def warned(report):
    return [(warning["line"], warning["message"]) for warning in report["warnings"]]


@pytest.fixture
def list_of_texts(tmp_path):
    """Writes list.csv, with a text, an image, a label and a split in each row."""
    for name in "abcdef":
        Image.new("RGB", (8, 8), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")

    def write(*rows):
        write_csv(tmp_path / "list.csv", ("text", "image", "label", "split"), rows)
        return tmp_path

    return write


def test_a_good_dataset_is_described(run_command, sample):
    code, report = check(run_command, sample)
    assert code == 0
    assert report["errors"] == []
    assert report["layout"] == "the task's folder"
    assert report["lists"] == {"train.txt": 80, "test_without_label.txt": 10}
    assert sum(report["labels"].values()) == 80
    assert set(report["encodings"]) == {"utf-8", "gb18030"}
    assert sum(report["image_formats"].values()) == 90
    assert report["words"]["smallest"] <= report["words"]["median"] <= report["words"]["largest"]


def test_all_problems_are_reported_at_once(run_command, dataset):
    first, second, third, fourth, fifth, sixth = list(
        open_dataset(dataset).select(TRAINING).rows()
    )[:6]
    os.remove(image_file(dataset, first.guid))
    os.truncate(image_file(dataset, second.guid), 200)
    with open(text_file(dataset, third.guid), "wb") as file:
        file.write(b"\xff")
    with open(text_file(dataset, fourth.guid), "wb") as file:
        file.write(b" \n")
    with open(dataset / TRAIN_LIST, "a") as file:
        file.write(f"{fifth.guid},{fifth.label}\n8.0,neutral\n8,joyful\n9,\n")
    code, report = check(run_command, dataset)
    assert code == 2
    errors = {(error["guid"], error["message"].split(";")[0]) for error in report["errors"]}
    assert errors == {
        (first.guid, "the image does not exist"),
        (second.guid, next(e["message"] for e in report["errors"] if e["guid"] == second.guid)),
        (third.guid, "the text is neither UTF-8 nor GB18030"),
        (fifth.guid, f"the guid is already on line {fifth.line}"),
        ("8.0", "the guid is a number with a decimal point: some program read the guids as "
                "floating-point numbers"),
        ("8", "the text does not exist"),
        ("", "the label 'joyful' has 1 pair"),
        ("8", "the image does not exist"),
        ("9", "the label is missing"),
    }  # fmt: skip
    assert [(w["guid"], w["message"]) for w in report["warnings"]] == [
        (fourth.guid, "the text is empty")
    ]
    assert sixth.guid not in str(report["errors"])


def test_identical_files_with_different_labels_give_a_warning(run_command, dataset):
    rows = list(open_dataset(dataset).select(TRAINING).rows())
    one = next(row for row in rows if row.label == "positive")
    other = next(row for row in rows if row.label == "negative")
    shutil.copy(image_file(dataset, one.guid), image_file(dataset, other.guid))
    shutil.copy(text_file(dataset, one.guid), text_file(dataset, other.guid))
    code, report = check(run_command, dataset)
    assert code == 0
    messages = " ".join(warning["message"] for warning in report["warnings"])
    assert "the same image has other labels" in messages
    assert "the same text has other labels" in messages


def test_the_text_output_says_the_same(run_command, dataset):
    os.remove(image_file(dataset, next(open_dataset(dataset).select(TRAINING).rows()).guid))
    result = run_command("mmsent", "check-data", "--data", dataset, cwd=dataset.parent)
    assert result.code == 2
    assert "error: train.txt line 2 (guid" in result.out
    assert "1 error, 0 warnings" in result.out


def test_the_dataset_may_be_an_argument(run_command, sample):
    def facts(*options):
        result = run_command("mmsent", "check-data", "--json", *options, cwd=sample.parent)
        return result.code, result.out

    for place in (sample, sample / TRAIN_LIST):
        assert facts(place) == facts("--data", place)
        assert facts(place)[0] == 0
    assert facts(sample, "--data", sample) == (2, "")


@pytest.mark.parametrize("bad", ['{"text": "a", "image": "a.png"', '{"split": "none"}', "[]"])
def test_a_row_without_a_split_is_reported_once(run_command, tmp_path, bad):
    splits = ("train", "validation", "test")
    rows = [{"text": "a", "image": "a.png", "label": "x", "split": split} for split in splits]
    lines = [*map(json.dumps, rows), bad]
    (tmp_path / "list.jsonl").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    _, report = check(run_command, tmp_path, "--data", "list.jsonl")
    assert [error["line"] for error in report["errors"] if error["line"]] == [4]
    assert report["lists"] == {"list.jsonl": 4}
    pytest.importorskip("mmsent_training", reason="the runtime alone is installed")
    result = run_command(
        "mmsent", "train", "--model", "light", "--data", "list.jsonl", cwd=tmp_path
    )
    assert result.err.count("list.jsonl line 4") == 1


def test_a_folder_that_is_not_a_dataset(run_command, tmp_path):
    result = run_command("mmsent", "check-data", cwd=tmp_path)
    assert result.code == 2
    assert "contains no dataset: neither train.txt nor test_without_label.txt" in result.err


REPEATED = [
    ("rain", "a.png", "bad", "train"), ("rain", "a.png", "bad", "train"),  # both
    ("sun", "b.png", "good", "train"), ("fun", "b.png", "good", "train"),  # the image
    ("fun", "c.png", "good", "train"),  # and the text
    ("rain", "a.png", "bad", "validation"), ("sun", "d.png", "good", "validation"),
    ("snow", "b.png", "", "test"), ("fog", "e.png", "", "test"), ("fog", "f.png", "", "test"),
]  # fmt: skip


def test_duplicate_pairs_are_counted_across_the_splits(run_command, list_of_texts):
    """Duplicates of both parts together, of one part, or of each part in different pairs."""
    code, report = check(run_command, list_of_texts(*REPEATED), "--data", "list.csv")
    assert code == 0
    assert report["repeats"] == {
        "text and image": {"pairs": 3, "trained_on": 1},
        "image alone": {"pairs": 3, "trained_on": 1},
        "text alone": {"pairs": 6, "trained_on": 1},
    }
    assert warned(report) == [
        (7, "a training pair has the same text and image; it is list.csv line 2 (guid '1')"),
        (8, "a training pair has the same text; it is list.csv line 4 (guid '3')"),
        (9, "a training pair has the same image; it is list.csv line 4 (guid '3')"),
    ]


def test_what_the_validation_pairs_can_show(run_command, list_of_texts):
    """The baseline is that of the validation pairs."""
    labels = ["good"] * 6 + ["bad"] * 2
    rows = [(f"text {i}", "a.png", label, "train") for i, label in enumerate(labels)]
    rows += [(f"text {8 + i}", "b.png", label, "dev") for i, label in enumerate(["good", "bad"])]
    _, report = check(run_command, list_of_texts(*rows), "--data", "list.csv")
    assert report["labels"] == {"bad": 2, "good": 6}
    assert report["validation_labels"] == {"bad": 1, "good": 1}
    found = report["prospects"]
    assert (found["train"], found["validation"], found["drawn"]) == (8, 2, False)
    assert (found["most_frequent"], found["baseline"]) == ("good", 0.5)
    _, report = check(run_command, list_of_texts(*((*row[:3], "") for row in rows * 3)),
                      "--data", "list.csv")  # fmt: skip
    found = report["prospects"]
    assert (found["train"], found["validation"], found["drawn"]) == (27, 3, True)
    assert found["baseline"] == 0.7


@pytest.mark.parametrize("pairs", [1, 10, 400])
def test_the_interval_is_wilsons(pairs):
    """By its definition: 0.5 is 1.96 standard errors away from the share at the interval's end."""
    margin = accuracy_margin(pairs)
    share = 0.5 + margin
    assert margin == pytest.approx(1.959964 * (share * (1 - share) / pairs) ** 0.5, rel=1e-6)


@pytest.mark.parametrize(("modality", "refused"), [("both", {2, 3}), ("text", {3}), ("image", {2})])
def test_parts_that_the_model_does_not_use_are_not_checked(run_command, dataset, modality, refused):
    first, second = list(open_dataset(dataset).select(TRAINING).rows())[:2]
    os.remove(image_file(dataset, first.guid))
    os.remove(text_file(dataset, second.guid))
    code, report = check(run_command, dataset, "--modality", modality)
    assert code == 2
    assert {error["line"] for error in report["errors"]} == refused


def test_pairs_with_a_missing_part_are_counted(run_command, list_of_texts):
    """Only a model that accepts this can predict them."""
    rows = [("rain", "a.png", "", ""), ("fun", "", "", ""), ("", "c.png", "", "")]
    folder = list_of_texts(*rows)
    code, report = check(run_command, folder, "--data", "list.csv")
    assert code == 0
    assert report["lacking"]["image"] == 1
    assert any(line == 3 and "the image is missing" in text for line, text in warned(report))


def test_texts_and_missing_parts_are_checked_against_a_bundle(run_command, list_of_texts):
    folder = list_of_texts(
        ("fun rain", "a.png", "", ""), ("дождь", "b.png", "", ""), ("a fun day", "", "", "")
    )
    write_small_bundle(folder / "model.onnx")
    code, report = check(run_command, folder, "--data", "list.csv", "--model", "model.onnx")
    assert code == 2
    assert [(error["line"], error["message"]) for error in report["errors"]] == [
        (4, "the image is missing, and the model requires it")
    ]
    assert warned(report) == [(3, "most of the text is unknown to the tokenizer: 'Cyrillic'")]
    assert report["tokens"] == {
        "all": 6, "unknown": 2, "texts": 3, "mostly_unknown_texts": 1
    }  # fmt: skip
    assert report["scripts"] == {"Latin": 14, "Cyrillic": 5}


def test_many_problems_are_grouped_unless_all_are_requested(run_command, dataset):
    """The number of lines is limited; JSON always has each problem."""
    rows = list(open_dataset(dataset).select(TRAINING).rows())
    for row in rows[:30]:
        os.remove(image_file(dataset, row.guid))
    result = run_command("mmsent", "check-data", cwd=dataset)
    (line,) = (line for line in result.out.splitlines() if line.startswith("error: "))
    assert line.startswith("error: 30 rows: the image does not exist; first: train.txt line 2")
    assert "--all prints every one" in result.out
    every = run_command("mmsent", "check-data", "--all", cwd=dataset)
    assert every.out.count("error: ") == 30
    for row in rows[:30]:
        assert f"train.txt line {row.line} (guid {row.guid!r})" in every.out
    assert len(check(run_command, dataset)[1]["errors"]) == 30


def test_the_summary_fits_a_terminal(run_command, list_of_texts):
    """With forty labels, one of them very long."""
    labels = [f"label {i}" for i in range(40)] + ["a" + "n" * 60]
    rows = [(f"text {i}", "a.png", label, "") for i, label in enumerate(labels * 12)]
    result = run_command("mmsent", "check-data", "--data", "list.csv", cwd=list_of_texts(*rows))
    assert result.code == 0, result.out
    problems, facts = result.out.split("\n\n", 1)
    assert problems.endswith("label 0 here, 2 (label 1), 3 (label 2), 4 (label 3), "
                             "5 (label 4), 6 (label 5) and 475 more")  # fmt: skip
    assert max(map(len, facts.splitlines())) <= 80
    assert len(facts.splitlines()) < 50
    assert "22 others" in facts

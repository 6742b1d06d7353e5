import json
import os
import shutil

import pytest

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST, image_file, text_file


@pytest.fixture
def dataset(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "dataset")


def check(run_command, folder):
    result = run_command("mmsent", "check-data", "--json", cwd=folder)
    return result.code, json.loads(result.out)


def test_a_good_dataset_is_described(run_command, sample):
    code, report = check(run_command, sample)
    assert code == 0
    assert report["errors"] == []
    assert report["lists"] == {"train.txt": 80, "test_without_label.txt": 10}
    assert sum(report["labels"].values()) == 80
    assert set(report["encodings"]) == {"utf-8", "gb18030"}
    assert sum(report["image_formats"].values()) == 90
    assert report["words"]["smallest"] <= report["words"]["median"] <= report["words"]["largest"]


def test_all_that_is_wrong_is_reported_at_once(run_command, dataset):
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
        (fifth.guid, f"the guid is on line {fifth.line} already"),
        ("8.0", "the guid is a number with a decimal point: some program read the guids as "
                "floating-point numbers"),
        ("8", "the text does not exist"),
        ("8", "the image does not exist"),
        ("9", "the label is missing"),
    }  # fmt: skip
    assert [(w["guid"], w["message"]) for w in report["warnings"]] == [
        (fourth.guid, "the text is empty")
    ]
    assert sixth.guid not in str(report["errors"])


def test_identical_files_with_different_labels_are_warned_of(run_command, dataset):
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


def test_people_read_the_same(run_command, dataset):
    os.remove(image_file(dataset, next(open_dataset(dataset).select(TRAINING).rows()).guid))
    result = run_command("mmsent", "check-data", "--data", dataset, cwd=dataset.parent)
    assert result.code == 2
    assert "error: train.txt line 2 (guid" in result.out
    assert "1 errors, 0 warnings" in result.out


def test_a_folder_that_is_no_dataset(run_command, tmp_path):
    result = run_command("mmsent", "check-data", cwd=tmp_path)
    assert result.code == 2
    assert "holds neither train.txt nor test_without_label.txt" in result.err

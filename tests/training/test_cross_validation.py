"""`mmsent cross-validate`: the folds' pairs, the scores, and resuming."""

import csv
import hashlib
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from mmsent.data.folder import image_file
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError
from mmsent_training.cross_validation.folds import divide_folds, group_pairs
from mmsent_training.cross_validation.record import PREDICTIONS, RECORD
from mmsent_training.cross_validation.training import cross_validate, make_plan
from mmsent_training.examples import Examples
from mmsent_training.loop import Event
from mmsent_training.models.registry import choose, default_settings

SMALL = ("--model", "light", "--epochs", 1, "--folds", 3)
LABELS = ("no", "yes")


def validate(run_command, data, output, *options):
    arguments = ("--data", data, "--output", output, *SMALL, *options)
    return run_command("mmsent", "cross-validate", *arguments, cwd=output.parent)


def read(folder):
    record = json.loads((folder / "cross_validation.json").read_text())
    return record, pd.read_csv(folder / "predictions.csv", dtype={"guid": str})


@pytest.fixture(scope="module")
def whole(run_command, sample, tmp_path_factory):
    """The folder and output of an uninterrupted cross-validation."""
    folder = tmp_path_factory.mktemp("whole") / "folds"
    result = validate(run_command, sample, folder)
    assert result.code == 0, result.err
    return folder, result


@pytest.fixture(scope="module")
def folds(sample):
    """The pairs, and scikit-learn's folds computed from the files: two lists of rows each."""
    pairs = TrainingSource(sample).read().train
    labels = np.unique([pair.label for pair in pairs], return_inverse=True)[1]
    rows = np.arange(len(pairs))
    inside, _ = train_test_split(rows, test_size=0.1, random_state=42, stratify=labels)
    images = np.array([hashlib.sha256(pairs[row].read("image")).hexdigest() for row in inside])
    found = {}
    for repeat in (1, 2):
        splitter = StratifiedGroupKFold(3, shuffle=True, random_state=repeat - 1)
        split = splitter.split(inside, labels[inside], images)
        for fold, parts in enumerate(split, 1):
            found[repeat, fold] = [inside[part].tolist() for part in parts]
    return pairs, found


def test_the_folds_are_scikit_learns_within_the_training_part(folds, whole):
    """A tenth is held out, as in training, and is in no fold."""
    (pairs, parts), (_, predictions) = folds, read(whole[0])
    for (repeat, fold), (_, left_out) in parts.items():
        rows = predictions[(predictions.repeat == repeat) & (predictions.fold == fold)]
        assert rows.guid.tolist() == [pairs[row].guid for row in left_out]
    assert predictions.guid.nunique() == 72
    assert len(predictions) == 2 * 72


def test_the_scores_are_those_of_the_predictions(whole):
    record, predictions = read(whole[0])
    labels = ["negative", "neutral", "positive"]
    assert len(record["results"]) == 6
    for found in record["results"]:
        rows = predictions[
            (predictions.repeat == found["repeat"]) & (predictions.fold == found["fold"])
        ]
        assert found["pairs"] == len(rows)
        assert found["accuracy"] == pytest.approx(accuracy_score(rows.tag, rows.predicted))
        f1 = f1_score(rows.tag, rows.predicted, labels=labels, average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(f1)
        shares = rows[labels].div(rows[labels].sum(axis=1), axis=0)  # rounded in the file
        wanted = log_loss(rows.tag, shares, labels=labels)
        assert found["loss"] == pytest.approx(wanted, abs=1e-5)
        assert found["seed"] == 41 + found["repeat"]
    for name in ("accuracy", "macro_f1", "loss"):
        values = [found[name] for found in record["results"]]
        assert record[name] == pytest.approx({"mean": np.mean(values), "std": np.std(values)})


def test_it_prints_every_fold_with_mean_and_deviation(whole):
    record, (_, result) = read(whole[0])[0], whole
    lines = result.out.splitlines()
    assert [line.split()[:2] for line in lines[1:7]] == [
        [repeat, fold] for repeat in "12" for fold in "123"
    ]
    mean, deviation = lines[7].split(), lines[8].split()
    assert mean == ["mean", *(f"{record[n]['mean']:.3f}" for n in ("accuracy", "macro_f1", "loss"))]
    assert deviation[-3] == f"{record['accuracy']['std']:.3f}"
    assert "72 pairs in 3 folds, 2 times; 8 pairs to validate on stay unseen" in result.err


@pytest.mark.parametrize("number", [(1, 2), (2, 3)])
def test_a_fold_is_a_training_on_the_same_pairs(
    run_command, sample, folds, whole, tmp_path, number
):
    """`mmsent train` with the fold as validation pairs predicts exactly the same."""
    (pairs, parts), (record, predictions) = folds, read(whole[0])
    with open(tmp_path / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["guid", "text", "image", "label", "split"])
        for split, rows in zip(("train", "validation"), parts[number]):
            for pair in [pairs[row] for row in rows]:
                image = os.path.basename(image_file(sample, pair.guid))
                writer.writerow([pair.guid, pair.read_text(), image, pair.label, split])
    [found] = [f for f in record["results"] if (f["repeat"], f["fold"]) == number]
    where = ("--data", "list.csv", "--images", sample / "data")
    how = ("--model", "light", "--epochs", 1, "--seed", found["seed"], "--output", "run")
    result = run_command("mmsent", "train", *where, *how, cwd=tmp_path)
    assert result.code == 0, result.err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in ("pairs", "accuracy", "macro_f1", "calibration_error"):
        assert run["metrics"][name] == found[name]
    assert run["calibration"]["temperature"] == found["temperature"]
    table = pd.read_csv(tmp_path / "run" / "validation_predictions.csv", dtype={"guid": str})
    rows = predictions[(predictions.repeat == number[0]) & (predictions.fold == number[1])]
    pd.testing.assert_frame_equal(rows[table.columns].reset_index(drop=True), table)


def make_examples(rows):
    """Examples from (text, image, label), each a string; "" means missing."""
    texts, images, labels = zip(*rows)
    digests = [hashlib.sha256(image.encode()).digest() if image else b"" for image in images]
    numbers = np.array([LABELS.index(label) for label in labels])
    return Examples([None] * len(rows), texts, numbers, LABELS, digests, digests)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([("a", "1"), ("b", "1"), ("c", "2")], "aab"),
        ([("a", "1"), (" a\n", "2"), ("b", "3")], "aab"),  # the same text except for white space
        ([("a", "1"), ("b", "1"), ("b", "2"), ("c", "2"), ("d", "3")], "aaaab"),  # a chain
        ([("c", "1"), ("a", "2"), ("b", "3"), ("b", "1"), ("a", "3")], "aaaaa"),
        ([("a", ""), ("a", ""), ("b", ""), ("", "1"), ("", "1"), ("", "2")], "aabccd"),
        ([("", ""), ("", "")], "ab"),  # both are empty, which does not count
    ],
)
def test_pairs_that_share_an_image_or_a_text_are_one_group(rows, groups):
    found = group_pairs(make_examples([(*row, "no") for row in rows]), range(len(rows)))
    first = {name: place for place, name in reversed([*enumerate(found)])}
    expected = [groups.index(letter) for letter in groups]
    assert [first[name] for name in found] == expected


@pytest.mark.parametrize("repeat", [1, 2])
def test_every_pair_is_validated_once_without_a_duplicate_in_training(repeat):
    rows = [(f"t{n // 2}", f"i{n // 3}", LABELS[n % 2]) for n in range(60)]
    rows += [(f"u{n}", f"j{n}", LABELS[n % 2]) for n in range(60)]
    examples, some = make_examples(rows), range(10, 120)
    parts = divide_folds(examples, some, folds=4, repeat=repeat)
    assert sorted(row for _, part in parts for row in part) == [*some]
    for train, left_out in parts:
        assert sorted([*train, *left_out]) == [*some]
        assert not {rows[n][0] for n in train} & {rows[n][0] for n in left_out}
        assert not {rows[n][1] for n in train} & {rows[n][1] for n in left_out}
    other = divide_folds(examples, some, folds=4, repeat=repeat + 1)
    assert other != parts == divide_folds(examples, some, folds=4, repeat=repeat)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(f"{n}", f"{n}", LABELS[n < 2]) for n in range(9)], "the label 'yes' has 2 of the 9"),
        ([("a", f"{n}", LABELS[n % 2]) for n in range(9)], "3 folds are too many"),
    ],
)
def test_too_many_folds_are_refused(rows, message):
    with pytest.raises(InputError, match=message):
        divide_folds(make_examples(rows), range(len(rows)), folds=3, repeat=1)


class Killed(BaseException):
    """Simulates a SIGKILL."""


@pytest.mark.parametrize(
    "before", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_killed_in_a_fold_it_resumes_with_that_fold(run_command, sample, whole, tmp_path, before):
    """The result is the same; a finished fold is not trained again."""
    settings = default_settings("light", "cpu", epochs=1)
    plan = make_plan(TrainingSource(sample), settings, choose("light", {}), folds=3, repeats=2)
    begun = []

    def kill(event):
        if event == Event("step", 1, 1):
            begun.append(event)
            if len(begun) > before:
                raise Killed

    (tmp_path / "folds").mkdir()
    with pytest.raises(Killed):
        cross_validate(tmp_path / "folds", plan, kill)
    first = read(tmp_path / "folds")[0]["results"] if before else []
    result = run_command("mmsent", "cross-validate", "--resume", "folds", cwd=tmp_path)
    assert result.code == 0, result.err
    record, wanted = read(tmp_path / "folds")[0], read(whole[0])[0]
    assert record["results"][:before] == first
    for found in (record, wanted):
        for fold in found["results"]:
            del fold["seconds"]
    assert record["results"] == wanted["results"]
    predictions = [folder / "predictions.csv" for folder in (tmp_path / "folds", whole[0])]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


def test_a_finished_one_only_prints_its_results(run_command, whole):
    folder, first = whole
    again = run_command("mmsent", "cross-validate", "--resume", folder, cwd=folder.parent)
    assert (again.code, again.out) == (0, first.out)
    shown = run_command("mmsent", "cross-validate", "--resume", folder, "--json", cwd=folder.parent)
    assert json.loads(shown.out) == read(folder)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folds", 4), "leave out --folds"),
        (("--set", "epochs=2"), "leave out --set"),
        (("--model", "light", "--repeats", 3), "leave out --model, --repeats"),
    ],
)
def test_resuming_keeps_all_options(run_command, whole, options, message):
    folder, _ = whole
    result = run_command(
        "mmsent", "cross-validate", "--resume", folder, *options, cwd=folder.parent
    )
    assert result.code == 2
    assert message in result.err


def test_it_does_not_resume_on_other_data(run_command, whole, tmp_path):
    assert run_command("mmsent", "sample-data", "other", "--pairs", 90, cwd=tmp_path).code == 0
    result = run_command(
        "mmsent", "cross-validate", "--resume", whole[0], "--data", "other", cwd=tmp_path
    )
    assert result.code == 2
    assert "the dataset in" in result.err
    assert "has changed" in result.err


def test_any_other_folder_is_refused(run_command, tmp_path):
    result = run_command("mmsent", "cross-validate", "--resume", ".", cwd=tmp_path)
    assert result.code == 2
    assert "is not a cross-validation: it has no cross_validation.json" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "empty", "foreign", "binary", "cut"])
def test_damaged_predictions_are_refused_before_the_work(run_command, whole, tmp_path, damage):
    folder = shutil.copytree(whole[0], tmp_path / "folder")
    start, predictions = folder / RECORD, folder / PREDICTIONS
    content = json.loads(start.read_text())
    start.write_text(json.dumps(content | {"results": content["results"][:1]}))
    if damage == "missing":
        predictions.unlink()
    elif damage == "cut":
        predictions.write_text("\n".join(predictions.read_text().splitlines()[:3]))
    else:
        predictions.write_bytes({"empty": b"", "foreign": b"a,b\n1,2\n", "binary": b"\xff"}[damage])
    result = run_command("mmsent", "cross-validate", "--resume", folder, cwd=tmp_path)
    assert result.code == 2
    assert PREDICTIONS in result.err
    assert "start again" in result.err
    assert "loss" not in result.err


@pytest.mark.parametrize("change", [{"folds": 0}, {"folds": -1}, {"repeats": 0}])
def test_numbers_that_cannot_be_are_refused(run_command, whole, tmp_path, change):
    folder = shutil.copytree(whole[0], tmp_path / "folder")
    content = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(content | change))
    result = run_command("mmsent", "cross-validate", "--resume", folder, cwd=tmp_path)
    assert result.code == 2
    assert f"$.{next(iter(change))}`" in result.err


def test_settings_are_those_of_set(run_command, sample, tmp_path):
    output = tmp_path / "folds"
    more = ("--repeats", 1, "--set", "learning_rate=0.002", "--set", "keep=best", "--json")
    result = validate(run_command, sample, output, *more)
    assert result.code == 0, result.err
    record = json.loads(result.out)
    settings = record["start"]["settings"]
    assert (settings["learning_rate"], settings["keep"], settings["epochs"]) == (0.002, "best", 1)
    assert record == read(output)[0]
    assert len(record["results"]) == 3

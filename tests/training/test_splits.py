"""User-defined splits: the pairs for training, validation, export and evaluation."""

import csv
import json
import shutil

import pytest
from safetensors.numpy import load_file

from .posts import COLUMNS, read_lines, write_lines, write_posts

TINY = ("--model", "light", "--epochs", 1)


@pytest.fixture(scope="module")
def posts(make_once):
    """The files of write_posts. Read-only."""
    return make_once("posts", lambda folder: write_posts(folder / "posts")) / "posts"


@pytest.fixture(scope="module")
def given(run_command, posts, make_once):
    """A run with a separate validation file, and its bundle."""

    def fill(folder):
        arguments = ("--data", posts / "train.jsonl", "--validation", posts / "dev.jsonl", *COLUMNS)
        train(run_command, *arguments, cwd=folder)
        export(run_command, cwd=folder)

    return make_once("given", fill)


@pytest.fixture(scope="module")
def said(run_command, posts, make_once):
    """The same with a split column."""

    def fill(folder):
        train(run_command, "--data", posts / "all.csv", *COLUMNS, cwd=folder)
        export(run_command, cwd=folder)

    return make_once("said", fill)


def train(run_command, *arguments, cwd):
    result = run_command("mmsent", "train", *TINY, "--output", "run", *arguments, cwd=cwd)
    assert result.code == 0, result.err
    return cwd / "run"


def export(run_command, *arguments, cwd):
    result = run_command("mmsent-export", "onnx", "run", *arguments, cwd=cwd)
    assert result.code == 0, result.err
    return result.err


def evaluate(run_command, data, *arguments, cwd):
    return run_command("mmsent", "evaluate", "--data", data, *COLUMNS, *arguments, cwd=cwd)


def guids(posts, part):
    return [post["id"] for post in read_lines(posts / f"{part}.jsonl")]


def record(run):
    return json.loads((run / "run.json").read_text())


def predictions(run):
    with open(run / "validation_predictions.csv", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("how", ["given", pytest.param("said", marks=pytest.mark.slow)])
def test_no_random_split_is_made(request, posts, how):
    run = request.getfixturevalue(how) / "run"
    assert [int(row["guid"]) for row in predictions(run)] == guids(posts, "dev")
    dataset = record(run)["dataset"]
    assert (dataset["train_pairs"], dataset["validation_pairs"]) == (24, 8)
    assert record(run)["labels"] == ["0", "1"]


def test_the_run_is_the_same_however_the_split_is_given(given, said):
    one, other = (load_file(folder / "run" / "checkpoint.safetensors") for folder in (given, said))
    assert all((one[name] == other[name]).all() for name in one)
    fingerprints = ("train_fingerprint", "validation_fingerprint", "fingerprint")
    one, other = (record(folder / "run")["dataset"] for folder in (given, said))
    assert [one[name] for name in fingerprints] == [other[name] for name in fingerprints]


def test_hateful_memes_from_check_to_evaluation(run_command, posts, given, tmp_path):
    check = run_command(
        "mmsent", "check-data", "--data", posts / "train.jsonl", *COLUMNS, cwd=tmp_path
    )
    assert check.code == 0, check.err
    bundle = ("--model", given / "model.onnx")
    unlabelled = [
        {name: value for name, value in post.items() if name != "label"}
        for post in read_lines(posts / "test.jsonl")
    ]
    open_list = write_lines(tmp_path / "unlabelled.jsonl", unlabelled)
    arguments = (*bundle, *COLUMNS, "--images", posts)
    inferred = run_command("mmsent-infer", open_list, *arguments, cwd=tmp_path)
    assert inferred.code == 0, inferred.err
    with open(tmp_path / "submission.csv", newline="") as file:
        predicted = {int(row["guid"]): row["tag"] for row in csv.DictReader(file)}
    rows = read_lines(posts / "test.jsonl")
    right = sum(predicted[row["id"]] == str(row["label"]) for row in rows)
    scored = evaluate(run_command, posts / "test.jsonl", *bundle, "--json", cwd=tmp_path)
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["accuracy"] == pytest.approx(right / len(rows))
    nothing = evaluate(run_command, open_list, *bundle, "--images", posts, cwd=tmp_path)
    assert nothing.code == 2
    assert "no row of" in nothing.err
    assert "--columns label=NAME" in nothing.err


@pytest.mark.parametrize(
    ("how", "data", "asked", "wanted", "pairs"),
    [
        ("given", "dev.jsonl", None, "validation", 8),
        ("given", "dev.jsonl", "validation", "validation", 8),
        ("given", "train.jsonl", None, "all", 24),
        ("given", "train.jsonl", "train", "train", 24),
        ("given", "test.jsonl", None, "all", 8),
        ("given", "all.csv", None, "validation", 8),
        ("given", "all.csv", "train", "train", 24),
        ("said", "all.csv", None, "validation", 8),
        ("said", "all.csv", "validation", "validation", 8),
        ("said", "all.csv", "train", "train", 24),
        ("said", "all.csv", "test", "test", 8),
        ("said", "all.csv", "all", "all", 40),
        ("said", "dev.jsonl", None, "validation", 8),
        ("said", "train.jsonl", "all", "all", 24),
    ],
)
def test_evaluate_finds_the_pairs(request, run_command, posts, how, data, asked, wanted, pairs):
    folder = request.getfixturevalue(how)
    split = ("--split", asked) if asked else ()
    result = evaluate(run_command, posts / data, *split, "--json", cwd=folder)
    assert result.code == 0, result.err
    scores = json.loads(result.out)
    assert (scores["split"], scores["pairs"]) == (wanted, pairs)
    assert f" {pairs} " in result.err.splitlines()[0]
    if wanted == "validation":
        assert scores["accuracy"] == pytest.approx(record(folder / "run")["metrics"]["accuracy"])


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [("train.jsonl", "validation", "validated on"), ("dev.jsonl", "train", "trained on"),
     ("test.jsonl", "train", "trained on"), ("test.jsonl", "validation", "validated on")],
)  # fmt: skip
def test_pairs_that_do_not_exist(run_command, posts, given, data, split, message):
    result = evaluate(run_command, posts / data, "--split", split, cwd=given)
    assert result.code == 2
    assert message in result.err
    assert "--split all" in result.err


def test_a_dataset_without_a_test_split(run_command, posts, given):
    result = evaluate(run_command, posts / "dev.jsonl", "--split", "test", cwd=given)
    assert result.code == 2
    assert "in its split test has a label" in result.err


def test_changed_pairs_count_as_other_pairs(run_command, posts, given, tmp_path):
    rows = read_lines(posts / "dev.jsonl")
    changed = write_lines(tmp_path / "dev.jsonl", [*rows[:-1], rows[-1] | {"text": "another"}])
    arguments = ("--images", posts, "--model", given / "model.onnx")
    result = evaluate(run_command, changed, *arguments, "--json", cwd=tmp_path)
    assert json.loads(result.out)["split"] == "all"
    result = evaluate(run_command, changed, *arguments, "--split", "validation", cwd=tmp_path)
    assert result.code == 2


def test_rows_without_a_label_are_left_out_and_counted(run_command, posts, given, tmp_path):
    rows = read_lines(posts / "test.jsonl")
    data = write_lines(
        tmp_path / "some.jsonl", [*rows[:-2], *(row | {"label": None} for row in rows[-2:])]
    )
    arguments = ("--images", posts, "--model", given / "model.onnx", "--json")
    result = evaluate(run_command, data, *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    assert json.loads(result.out)["pairs"] == 6
    assert f"2 rows of {data} have no label" in result.err


@pytest.mark.parametrize("how", ["given", pytest.param("said", marks=pytest.mark.slow)])
def test_the_export_is_verified_on_these_pairs(request, run_command, posts, tmp_path, how):
    run = shutil.copytree(request.getfixturevalue(how) / "run", tmp_path / "run")
    assert "8 validation pairs" in export(run_command, cwd=tmp_path)
    moved = shutil.copytree(posts, tmp_path / "moved")
    content = record(run)
    content["dataset"]["path"] = str(tmp_path / "gone.csv")
    if how == "given":
        content["dataset"]["validation"] = str(tmp_path / "gone.jsonl")
    (run / "run.json").write_text(json.dumps(content))
    assert "random inputs" in export(run_command, cwd=tmp_path)
    where = ("--data", moved / "all.csv")
    if how == "given":
        where = ("--data", moved / "train.jsonl", "--validation", moved / "dev.jsonl")
    assert "8 validation pairs" in export(run_command, *where, cwd=tmp_path)
    other = ("--data", moved / "train.jsonl", "--validation", moved / "test.jsonl")
    result = run_command("mmsent-export", "onnx", "run", *other, cwd=tmp_path)
    assert result.code == 2
    assert f"{moved / 'test.jsonl'} is not the dataset" in result.err


def test_a_bundle_names_no_path(given, posts):
    assert str(posts).encode() not in (given / "model.onnx").read_bytes()


def test_the_order_of_labels_can_be_given(run_command, posts, tmp_path):
    arguments = ("--data", posts / "all.csv", *COLUMNS, "--labels", "1, 0")
    run = train(run_command, *arguments, cwd=tmp_path)
    assert record(run)["labels"] == ["1", "0"]
    assert [*predictions(run)[0]] == ["guid", "tag", "predicted", "1", "0"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [("0,2", "unknown label '1'"), ("0,1,2", "the label '2' has 0 pairs"), ("0", "two labels"),
     ("0,0", "all different"), ("0,1,", "the label is missing"), ("0,=1", "formula")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["train", "ablate"])
def test_invalid_labels(run_command, posts, tmp_path, name, labels, message):
    arguments = ("--data", posts / "all.csv", *COLUMNS, "--labels", labels)
    result = run_command("mmsent", name, *TINY, *arguments, "--output", "run", cwd=tmp_path)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "run" / "both").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [(None, "there are no validation pairs"), ({"img": "img/none.png"}, "does not exist"),
     ({"label": 2}, "unknown label '2'")],
)  # fmt: skip
def test_invalid_validation_pairs(run_command, posts, tmp_path, changes, message):
    if changes is None:
        other = tmp_path / "dev.csv"
        other.write_text("id,img,text,label\n")
    else:
        rows = [post | changes for post in read_lines(posts / "dev.jsonl")]
        other = write_lines(tmp_path / "dev.jsonl", rows)
    arguments = ("--data", posts / "train.jsonl", "--validation", other)
    result = run_command(
        "mmsent", "train", *TINY, *arguments, *COLUMNS, "--images", posts, cwd=tmp_path
    )
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_all_trainings_of_an_ablation_validate_on_them(run_command, posts, tmp_path):
    arguments = ("--data", posts / "train.jsonl", "--validation", posts / "dev.jsonl", *COLUMNS)
    result = run_command(
        "mmsent", "ablate", *TINY, *arguments, "--output", "ablation", cwd=tmp_path
    )
    assert result.code == 0, result.err
    for name in ("both", "text", "image"):
        rows = predictions(tmp_path / "ablation" / name)
        assert [int(row["guid"]) for row in rows] == guids(posts, "dev")

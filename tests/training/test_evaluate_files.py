"""The other output of `mmsent evaluate`: predictions, groups, mistakes, coverage."""

import json
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource
from mmsent_training.evaluation.groups import score_groups
from mmsent_training.evaluation.selective import coverage_curve, describe_coverage, tenths

from .test_compare import Page, read, write


def evaluate(run_command, bundle, data, *arguments, cwd):
    words = ("--model", bundle, "--data", data, *arguments)
    result = run_command("mmsent", "evaluate", *words, cwd=cwd)
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def posts(sample, make_once):
    """The sample's pairs as a list with a column for their source."""

    def fill(folder):
        pairs = TrainingSource(sample).read().train
        rows = [
            {
                "guid": pair.guid, "text": pair.read_text(), "image": f"{pair.guid}.jpg",
                "label": pair.label, "source": ("web", "app", "")[number % 3], "year": 2.0,
            }
            for number, pair in enumerate(pairs)
        ]  # fmt: skip
        write(folder / "posts.csv", rows)
        for pair in pairs:
            shutil.copy(sample / "data" / f"{pair.guid}.jpg", folder)

    return make_once("posts-by-source", fill) / "posts.csv"


def test_the_predictions_are_those_of_the_run(run_command, bundle, trained, sample, tmp_path):
    """In the run's format: scoring the bundle on its validation pairs gives the run's file."""
    evaluate(run_command, bundle, sample, "--output", "out.csv", cwd=tmp_path)
    found, wanted = read(tmp_path / "out.csv"), read(trained / "validation_predictions.csv")
    assert [*found[0]] == [*wanted[0]]
    for mine, its in zip(found, wanted, strict=True):
        assert [mine[name] for name in ("guid", "tag", "predicted")] == [
            its[name] for name in ("guid", "tag", "predicted")
        ]
        for label in SENTIMENTS:
            assert float(mine[label]) == pytest.approx(float(its[label]), abs=1e-4)


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_scores_by_a_column(run_command, bundle, posts, tmp_path, layout):
    data = posts
    if layout == "parquet":
        pandas = pytest.importorskip("pandas")
        data = tmp_path / "posts.parquet"
        table = pandas.read_csv(posts, dtype=str, keep_default_na=False)
        table["image"] = [(posts.parent / name).read_bytes() for name in table["image"]]
        table.to_parquet(data)
    options = ("--split", "all", "--by", "source")
    result = evaluate(run_command, bundle, data, *options, "--json", cwd=tmp_path)
    by = json.loads(result.out)["by"]
    evaluate(run_command, bundle, data, "--split", "all", "--output", "out.csv", cwd=tmp_path)
    source = {row["guid"]: row["source"] for row in read(posts)}
    groups = {}
    for row in read(tmp_path / "out.csv"):
        groups.setdefault(source[row["guid"]], []).append((row["tag"], row["predicted"]))
    assert by["column"] == "source"
    assert {group["value"] for group in by["groups"]} == {"web", "app", ""}
    for group in by["groups"]:
        true, predicted = zip(*groups[group["value"]])
        assert group["pairs"] == len(true)
        assert group["accuracy"] == pytest.approx(accuracy_score(true, predicted))
        wanted = f1_score(true, predicted, average="macro", zero_division=0)
        assert group["macro_f1"] == pytest.approx(wanted)
        low, high = group["macro_f1_interval"]
        assert low <= group["macro_f1"] <= high
    shown = evaluate(run_command, bundle, data, *options, cwd=tmp_path).out
    assert re.search(r"^source +pairs +accuracy", shown, re.MULTILINE)
    assert re.search(r"^\(nothing\) +2\d ", shown, re.MULTILINE)


def test_by_the_label_accuracy_is_recall(run_command, bundle, sample, tmp_path):
    """Any column works, also the label of the task's folder."""
    options = ("--split", "all", "--by", "tag", "--json")
    scores = json.loads(evaluate(run_command, bundle, sample, *options, cwd=tmp_path).out)
    found = {group["value"]: group["accuracy"] for group in scores["by"]["groups"]}
    assert found == {name: row["recall"] for name, row in scores["classes"].items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "language"), "posts.csv has no column 'language'; it has guid, text, image"),
        (("--by", "nothing"), "has no values for these pairs"),
        (("--output", "out.json"), "ends in .csv"),
        (("--output", "posts.csv"), "is also an input"),
        (("--errors", "out.txt"), "ends in .html"),
    ],
)
def test_refused_options(run_command, bundle, posts, tmp_path, options, message):
    folder = shutil.copytree(posts.parent, tmp_path / "data")
    rows = [row | {"nothing": ""} for row in read(folder / "posts.csv")]
    write(folder / "posts.csv", rows)
    words = ("--model", bundle, "--data", "posts.csv", "--split", "all", *options)
    result = run_command("mmsent", "evaluate", *words, cwd=folder)
    assert (result.code, message in result.err) == (2, True), result.err
    assert ("scoring" in result.err) == ("nothing" in options), "refused before the work"


def test_a_column_of_guids_cannot_form_groups():
    labels = np.zeros(101, int)
    with pytest.raises(ValueError, match="101 values"):
        score_groups(labels, labels, [str(number) for number in range(101)])


@pytest.mark.parametrize(("right", "pairs"), [(3, 3), (0, 4), (7, 9), (50, 100)])
def test_the_interval_of_a_group_is_wilsons(right, pairs):
    """By its formula; it has a width even if all of a few pairs are right."""
    labels = np.zeros(pairs, int)
    (group,) = score_groups(labels, (np.arange(pairs) >= right).astype(int), ["a"] * pairs)
    z, share = 1.959963984540054, right / pairs
    middle = (share + z**2 / (2 * pairs)) / (1 + z**2 / pairs)
    half = z / (1 + z**2 / pairs) * np.sqrt(share * (1 - share) / pairs + (z / (2 * pairs)) ** 2)
    assert group.accuracy_interval == pytest.approx((middle - half, middle + half))


def test_the_mistakes_are_on_a_page(run_command, bundle, sample, tmp_path):
    """All of them, the most confident first, or with --limit only the first ones."""
    options = ("--split", "all", "--output", "out.csv", "--errors", "errors.html")
    evaluate(run_command, bundle, sample, *options, cwd=tmp_path)
    wrong = [row for row in read(tmp_path / "out.csv") if row["tag"] != row["predicted"]]
    ranked = sorted(wrong, key=lambda row: -float(row[row["predicted"]]))
    page = Page(tmp_path / "errors.html").check()
    assert page.tags["article"] == page.tags["img"] == len(wrong)
    guids = re.findall(r"guid (\d+)", page.said)
    assert guids[:1] == [ranked[0]["guid"]]
    assert sorted(guids) == sorted(row["guid"] for row in wrong)
    worst = ranked[0]
    for label in SENTIMENTS:
        assert f"{float(worst[label]):.1%}" in page.said
    evaluate(run_command, bundle, sample, *options, "--limit", 3, cwd=tmp_path)
    assert Page(tmp_path / "errors.html").tags["article"] == 3


def test_accuracy_by_coverage():
    """By hand: pairs of equal confidence are covered together, so that order has no effect."""
    confidence = np.array([0.9, 0.6, 0.8, 0.8, 0.7])
    labels, predicted = np.array([0, 0, 0, 0, 0]), np.array([0, 1, 0, 1, 0])
    probabilities = np.stack([1 - confidence] * 2, 1)
    probabilities[np.arange(5), predicted] = confidence
    probabilities = probabilities.astype(np.float32)
    points = [
        (point.pairs, round(point.confidence, 3), round(point.accuracy, 3))
        for point in coverage_curve(labels, probabilities)
    ]
    assert points == [(1, 0.9, 1.0), (3, 0.8, 0.667), (4, 0.7, 0.75), (5, 0.6, 0.6)]
    order = [4, 3, 2, 1, 0]
    assert coverage_curve(labels[order], probabilities[order]) == coverage_curve(
        labels, probabilities
    )
    shown = describe_coverage(coverage_curve(labels, probabilities)).splitlines()
    assert [line.split()[:2] for line in shown[2:]] == [
        ["20%", "1"], ["60%", "3"], ["80%", "4"], ["100%", "5"],
    ]  # fmt: skip


def test_the_table_has_a_row_for_each_tenth():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), 400).astype(np.float32)
    labels = generator.integers(0, 3, 400)
    rows = tenths(coverage_curve(labels, probabilities))
    assert [row.pairs for row in rows] == [*range(40, 401, 40)]
    for row in rows:
        covered = probabilities.max(1) >= row.confidence - 1e-9
        assert covered.sum() == row.pairs
        right = probabilities[covered].argmax(1) == labels[covered]
        assert row.accuracy == pytest.approx(right.mean())


def test_the_report_has_coverage(run_command, bundle, sample, tmp_path):
    result = evaluate(run_command, bundle, sample, "--split", "all", cwd=tmp_path)
    assert "accuracy of the most confident predictions" in result.out
    assert re.search(r"^100% +80 ", result.out, re.MULTILINE)

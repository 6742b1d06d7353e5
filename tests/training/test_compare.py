"""`mmsent compare`: runs, bundles and files of predictions of the same pairs."""

import csv
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, precision_score, roc_auc_score

from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource

ALL = {"A": 0.9, "B": 0.6, "C": 0.6}


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def pairs(sample):
    return TrainingSource(sample).read().train


def predict(pairs, seed, right=0.6, labels=SENTIMENTS, *, truth=False, probabilities=True):
    """Rows of a file of predictions with this share of correct ones."""
    generator = np.random.default_rng(seed)
    rows = []
    for pair in pairs:
        answer = pair.label if generator.random() < right else str(generator.choice(labels))
        names = ("tag", "predicted") if truth else ("tag",)
        row = {"guid": pair.guid} | dict(zip(names, (pair.label, answer) if truth else (answer,)))
        if probabilities:
            values = generator.dirichlet(np.ones(len(labels)))
            values[::-1].sort()
            others = [label for label in labels if label != answer]
            row |= dict(zip(labels, [0.0] * len(labels)))
            row |= {label: f"{value:.7g}" for label, value in zip([answer, *others], values)}
        rows.append(row)
    return rows


@pytest.fixture
def files(pairs, tmp_path):
    """Predictions as mmsent-infer writes them, from more and less accurate contenders."""
    return [
        write(tmp_path / f"{name}.csv", predict(pairs, seed, right))
        for seed, (name, right) in enumerate(ALL.items())
    ]


@pytest.fixture(scope="module")
def text_run(sample, make_once, run_command):
    """A second run on the pairs of ``trained``, trained only on the texts."""

    def fill(folder):
        result = run_command(
            "mmsent", "train", "--model", "light", "--modality", "text", "--epochs", 1,
            "--data", sample, "--output", folder / "run", cwd=folder,
        )  # fmt: skip
        assert result.code == 0, result.err

    return make_once("text-run", fill) / "run"


def compare(run_command, *arguments, cwd):
    result = run_command("mmsent", "compare", *arguments, cwd=cwd)
    assert result.code == 0, result.err
    return result.out


def compare_json(run_command, *arguments, cwd):
    return json.loads(compare(run_command, *arguments, "--json", cwd=cwd))


def test_two_runs(run_command, trained, text_run, tmp_path):
    """Compared with scikit-learn and scipy on the runs' files, in a folder without the data."""
    found = compare_json(run_command, trained, text_run, cwd=tmp_path)
    rows = [read(run / "validation_predictions.csv") for run in (trained, text_run)]
    tags, *guesses = (
        [row[name] for row in table]
        for name, table in (("tag", rows[0]), ("predicted", rows[0]), ("predicted", rows[1]))
    )
    assert found["pairs"] == len(tags)
    for each, predicted in zip(found["contenders"], guesses):
        assert each["accuracy"] == pytest.approx(accuracy_score(tags, predicted))
        for average in ("macro", "weighted"):
            wanted = f1_score(tags, predicted, labels=SENTIMENTS, average=average, zero_division=0)
            assert each[f"{average}_f1"] == pytest.approx(wanted)
    right = [np.array(tags) == np.array(predicted) for predicted in guesses]
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    (pair,) = found["pairwise"]
    test = pair["mcnemar"]
    assert [test["only_one"], test["only_other"]] == only
    assert test["p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue if sum(only) else 1)
    assert found["facts"]["modality"] == ["both", "text"]
    assert found["facts"]["epochs"] == [2, 1]
    assert "seed" not in found["facts"]


def test_swapping_the_contenders_swaps_the_sign(run_command, files, sample, tmp_path):
    """Also with files in another order, and with a third contender."""
    one, other, third = files
    rows = read(other)
    write(other, rows[::-1])
    options = ("--data", sample)
    there = compare_json(run_command, one, other, *options, cwd=tmp_path)["pairwise"][0]
    back = compare_json(run_command, third, other, one, *options, cwd=tmp_path)["pairwise"][2]
    assert (back["one"], back["other"]) == ("B", "C")
    for name, value in there["differences"].items():
        for mine, its in zip(*((v.values() if name == "f1" else [v]) for v in (
            value, back["differences"][name]
        ))):  # fmt: skip
            assert (its["value"], its["low"], its["high"]) == (
                -mine["value"], -mine["high"], -mine["low"],
            )  # fmt: skip
    assert back["mcnemar"]["p"] == there["mcnemar"]["p"]
    assert back["mcnemar"]["only_one"] == there["mcnemar"]["only_other"]


def test_scores_are_scikit_learns(run_command, files, sample, pairs, tmp_path):
    found = compare_json(run_command, *files, "--data", sample, cwd=tmp_path)
    tags = {pair.guid: pair.label for pair in pairs}
    for each, file in zip(found["contenders"], files):
        rows = read(file)
        true, predicted = [tags[row["guid"]] for row in rows], [row["tag"] for row in rows]
        values = np.array([[float(row[label]) for label in SENTIMENTS] for row in rows])
        values /= values.sum(axis=1, keepdims=True)
        area = roc_auc_score(true, values, multi_class="ovr", labels=list(SENTIMENTS))
        assert each["auroc"] == pytest.approx(area, abs=1e-6)
        for label in SENTIMENTS:
            wanted = precision_score(true, predicted, labels=[label], average="macro")
            assert each["classes"][label]["precision"] == pytest.approx(wanted)
    assert [pair["one"] + pair["other"] for pair in found["pairwise"]] == ["AB", "AC", "BC"]


def test_the_text_output_has_tables(run_command, files, sample, tmp_path):
    out = compare(run_command, *files, "--data", sample, cwd=tmp_path)
    for line in (
        r"^A +.*A\.csv +file of predictions$",
        r"^A - B +accuracy +\+0\.\d{3} +\S+ to \S+$",
        r"^negative +A ",
        r"A and B: \d+ pairs? only A got right",
        "not corrected",
    ):
        assert re.search(line, out, re.MULTILINE), line


def test_a_run_and_its_bundle_are_the_same(run_command, trained, bundle, sample, tmp_path):
    """The bundle is scored on the run's pairs, which are found through the run's dataset."""
    found = compare_json(run_command, bundle, trained, cwd=tmp_path)
    assert [each["kind"] for each in found["contenders"]] == ["bundle", "run"]
    assert found["pairwise"][0]["differences"]["accuracy"] == {"value": 0, "low": 0, "high": 0}
    assert found["contenders"][0]["overlap"]["validated"] == found["pairs"]
    assert "epochs" not in found["facts"]


@pytest.mark.parametrize("split", [None, "validation", "all"])
def test_bundles_with_the_same_name(run_command, bundle, sample, tmp_path, split):
    """Letters and paths distinguish them; --split works as in evaluate."""
    paths = [shutil.copy(bundle, path / "model.onnx") for path in folders(tmp_path, "a", "b")]
    options = ("--data", sample, *(("--split", split) if split else ()))
    found = compare_json(run_command, *paths, *options, cwd=tmp_path)
    assert [each["path"] for each in found["contenders"]] == [str(path) for path in paths]
    assert found["pairs"] == (80 if split == "all" else 8)
    assert found["pairwise"][0]["mcnemar"]["p"] == 1


def folders(base, *names):
    for name in names:
        (base / name).mkdir()
    return [base / name for name in names]


def test_a_file_without_probabilities_has_no_auroc(run_command, pairs, sample, tmp_path):
    one = write(tmp_path / "one.csv", predict(pairs, 1, probabilities=False))
    other = write(tmp_path / "other.csv", predict(pairs, 2))
    found = compare_json(run_command, one, other, "--data", sample, cwd=tmp_path)
    areas = [each["auroc"] for each in found["contenders"]]
    assert areas[0] is None
    assert 0 < areas[1] < 1


def test_other_columns_are_ignored(run_command, pairs, sample, tmp_path):
    """Such as the fold of each pair in a cross-validation."""
    rows = [row | {"fold": 1} for row in predict(pairs, 1, truth=True)]
    one, other = (write(tmp_path / name, rows) for name in ("one.csv", "other.csv"))
    found = compare_json(run_command, one, other, cwd=tmp_path)
    assert found["labels"] == sorted(SENTIMENTS)
    assert found["contenders"][0]["auroc"] is not None


def test_contenders_may_have_different_labels(run_command, pairs, sample, tmp_path):
    """A label that only one has counts for both, so that the same scores are compared."""
    one = write(tmp_path / "one.csv", predict(pairs, 1))
    other = write(tmp_path / "other.csv", predict(pairs, 2, labels=(*SENTIMENTS, "mixed")))
    found = compare_json(run_command, one, other, "--data", sample, cwd=tmp_path)
    assert found["labels"] == sorted((*SENTIMENTS, "mixed"))
    first = found["contenders"][0]
    assert first["macro_f1"] == pytest.approx(
        sum(each["f1"] for each in first["classes"].values()) / 4
    )
    assert first["classes"]["mixed"]["f1"] == 0
    assert first["auroc"] is None


def drop(rows):
    del rows[3:5]


def repeat(rows):
    rows.append(rows[2])


def relabel(rows):
    for row in rows:
        row["predicted"], row["tag"] = row["tag"], "neutral"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"2 pairs \(guids {3}, {4}\) of A \(.*A.csv\) are not among those of B"),
        (repeat, r"B.csv has more than one prediction for 1 pair \(guid {2}\)"),
        (relabel, r"have another true label: the first is '\w+' in A .*, 'neutral' in B"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pairs_that_differ_are_reported(run_command, files, sample, tmp_path, change, message):
    rows = read(files[1])
    guids = [row["guid"] for row in rows]
    change(rows)
    write(files[1], rows)
    result = run_command("mmsent", "compare", *files[:2], "--data", sample, cwd=tmp_path)
    assert result.code == 2
    first, second = sorted(guids[3:5])
    wanted = message.replace("{3}", first).replace("{4}", second).replace("{2}", guids[2])
    assert re.search(wanted, result.err), result.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no predictions: it needs the columns guid and tag"),
        ("guid,tag\n", "has no predictions"),
        ("id,label\n1,a\n", "it has id, label"),
        ("guid,tag\n1\n", "line 2: 1 fields, but the header has 2"),
        ("guid,tag\n1,\n", "line 2: the guid or a label is missing"),
        ('guid,tag\n1,"a\n', "is not a CSV file: line"),
        (b"guid,tag\n\xff,a\n", "is not UTF-8 (byte 9)"),
        ("guid,tag\n123456,positive\n", "the data have none for 1 pair (guid 123456)"),
    ],
)
def test_a_file_that_cannot_be_used(run_command, files, sample, tmp_path, content, message):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run_command("mmsent", "compare", files[0], bad, "--data", sample, cwd=tmp_path)
    assert (result.code, message in result.err) == (2, True), result.err


def test_what_cannot_be_compared(run_command, trained, files, sample, tmp_path):
    old, lacking, link = (tmp_path / name for name in ("old", "lacking", "link"))
    shutil.copytree(trained, old)
    record = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps(record | {"format": 2}))
    shutil.copytree(trained, lacking)
    (lacking / "validation_predictions.csv").unlink()
    link.symlink_to(trained)
    (tmp_path / "x.parquet").touch()
    for words, message in {
        (trained,): "name 2 to 26 runs",
        (trained, trained): "are the same; name two different ones",
        (trained, link): "are the same; name two different ones",
        (trained, old): "its format is 2, but this mmsent reads 3",
        (trained, lacking): "validation_predictions.csv does not exist",
        (trained, sample): "is not a finished run",
        (trained, "nowhere"): "nowhere does not exist",
        (trained, "x.parquet"): "is not a run, a bundle",
        (trained, files[0], "--data", sample): "are not among those of",
        (files[0], files[1], "--data", sample, "--output", "x.json"): "ends in .html",
        (files[0], files[1]): "name",  # this folder is not a dataset
    }.items():
        result = run_command("mmsent", "compare", *words, cwd=tmp_path)
        assert (result.code, message in result.err) == (2, True), (words, result.err)


class Page(HTMLParser):
    """A parser that collects a page's tags, the resources that it would load, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.said = {}, [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.said += data

    def check(self):
        assert not self.tags.keys() & {"script", "link", "iframe", "object", "form"}
        assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in self.links)
        return self


def test_the_page_has_the_pairs_on_which_they_differ(run_command, files, pairs, sample, tmp_path):
    out = compare(run_command, *files, "--data", sample, "--output", "page.html", cwd=tmp_path)
    tags = {pair.guid: pair.label for pair in pairs}
    right = [{row["guid"]: row["tag"] == tags[row["guid"]] for row in read(file)} for file in files]
    differing = [guid for guid in tags if len({each[guid] for each in right}) == 2]
    page = Page(tmp_path / "page.html").check()
    assert page.tags["article"] == page.tags["img"] == len(differing)
    texts = {pair.guid: pair.read_text() for pair in pairs}
    for guid in differing:
        assert f"guid {guid}" in page.said
        assert texts[guid].strip() in page.said
    only_a = [g for g in tags if [each[g] for each in right] == [True, False, False]]
    assert re.search(rf"Only A \(A\.csv\) is right: {len(only_a)}(?!\d)", page.said)
    assert re.search(r"B \(B\.csv\) and C \(C\.csv\) are right, A \(A\.csv\) is wrong", page.said)
    assert re.search(r"A and B: \d+ pairs? only A got right", out)


def test_a_section_has_the_most_confident_pairs(run_command, files, pairs, sample, tmp_path):
    options = ("--data", sample, "--output", "page.html", "--limit", 2)
    compare(run_command, *files[:2], *options, cwd=tmp_path)
    page = Page(tmp_path / "page.html")
    assert page.tags["article"] == 4
    tags = {pair.guid: pair.label for pair in pairs}
    one, other = ({row["guid"]: row for row in read(file)} for file in files[:2])
    only_one = [g for g in tags if one[g]["tag"] == tags[g] != other[g]["tag"]]
    ranked = sorted(only_one, key=lambda g: -float(other[g][other[g]["tag"]]))
    assert re.findall(r"guid (\d+)", page.said)[:2] == ranked[:2]
    assert f"{len(only_one)} pairs, of which 2 are shown" in page.said


HOSTILE = "<script>alert(1)</script><img src=x onerror=y>&amp;\u202e"


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_untrusted_text_is_escaped(run_command, pairs, sample, tmp_path, layout):
    """In texts, guids and labels; also for missing parts, and for packed pairs."""
    labels = ("<b>", "no&w")
    rows = [
        {"guid": f"<i>{number}", "text": HOSTILE, "image": "", "label": labels[number % 2]}
        for number in range(20)
    ]
    shutil.copy(sample / "data" / f"{pairs[0].guid}.jpg", tmp_path / "1.jpg")
    rows[0]["image"] = "1.jpg"
    rows[1]["text"] = ""
    data = write(tmp_path / "posts.csv", rows)
    if layout == "parquet":
        result = run_command("mmsent", "pack", data, "posts.parquet", cwd=tmp_path)
        assert result.code == 0, result.err
        data = tmp_path / "posts.parquet"
        (tmp_path / "1.jpg").unlink()
    one = [{"guid": row["guid"], "tag": row["label"]} for row in rows]
    other = [{"guid": row["guid"], "tag": "<b>"} for row in rows]
    names = [write(tmp_path / name, table) for name, table in (("<u>.csv", one), ("b.csv", other))]
    compare(run_command, *names, "--data", data, "--output", "page.html", cwd=tmp_path)
    page = Page(tmp_path / "page.html").check()
    assert HOSTILE in page.said
    assert "Only A (<u>.csv) is right" in page.said
    assert not {"b", "i", "u"} & page.tags.keys()
    assert page.said.count("no image") == 10
    assert "no text" in page.said


def test_forty_labels_and_names_that_are_not_utf_8(run_command, sample, tmp_path):
    labels = tuple(f"label {number:02d}" for number in range(40))
    rows = [
        {"guid": number, "text": f"text {number}", "label": labels[number % 40]}
        for number in range(200)
    ]
    data = write(tmp_path / "posts.csv", rows)
    tables = (
        [{"guid": row["guid"], "tag": row["label"] if n % share else labels[0]}
         for n, row in enumerate(rows)]
        for share in (2, 3)
    )  # fmt: skip
    names = [tmp_path / os.fsdecode(name) for name in (b"\xff.csv", b"b.csv")]
    for name, table in zip(names, tables):
        write(name, table)
    out = compare(run_command, *names, "--data", data, "--output", "page.html", cwd=tmp_path)
    assert len(re.findall(r"^(?:A - B| +) +label \d\d +[+-]?\d\S+ +\S+ to", out, re.M)) == 40
    page = Page(tmp_path / "page.html").check()
    assert "Only A (\ufffd.csv) is right" in page.said
    assert page.tags["details"] == 2  # long tables are folded
    found = compare_json(run_command, *names, "--data", data, cwd=tmp_path)
    assert len(found["labels"]) == 40


def test_the_page_needs_the_pairs_themselves(run_command, pairs, sample, tmp_path):
    """Files with true labels can be compared without the data, but the page can't be written."""
    one, other = (
        write(tmp_path / f"{seed}.csv", predict(pairs, seed, truth=True)) for seed in (1, 2)
    )
    compare(run_command, one, other, cwd=tmp_path)
    result = run_command("mmsent", "compare", one, other, "--output", "page.html", cwd=tmp_path)
    assert result.code == 2
    assert not (tmp_path / "page.html").exists()
    folder = shutil.copytree(sample, tmp_path / "data")
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()
    options = ("--data", folder, "--output", "page.html")
    compare(run_command, one, other, *options, cwd=tmp_path)
    said = Page(tmp_path / "page.html").said
    assert "the image can't be read" in said
    assert "the text can't be read" in said


def test_the_page_shows_the_runs_pairs(run_command, trained, text_run, tmp_path):
    """With images, even if a run was trained only on texts."""
    compare(run_command, text_run, trained, "--output", "page.html", cwd=tmp_path)
    rows = [read(run / "validation_predictions.csv") for run in (trained, text_run)]
    right = [[row["tag"] == row["predicted"] for row in table] for table in rows]
    page = Page(tmp_path / "page.html").check()
    assert page.tags.get("img", 0) == sum(one != other for one, other in zip(*right))

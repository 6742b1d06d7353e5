"""`mmsent evaluate`, compared with scikit-learn on the predictions of mmsent-infer."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from scipy.stats import bootstrap
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    f1_score,
    log_loss,
    roc_auc_score,
)

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST
from mmsent.data.labels import SENTIMENTS
from mmsent_training.evaluation.calibration import calibrate
from mmsent_training.evaluation.metrics import bootstrap_intervals, describe, score
from mmsent_training.evaluation.significance import mcnemar
from mmsent_training.runs.run import read_run


@pytest.mark.parametrize("part", ["validation", "train", "all"])
def test_the_scores_of_a_split(run_command, bundle, trained, sample, tmp_path, part):
    arguments = ("--model", bundle, "--data", sample, "--split", part, "--json")
    result = run_command("mmsent", "evaluate", *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    run_command("mmsent-infer", sample / TRAIN_LIST, "--model", bundle, cwd=tmp_path)
    with open(tmp_path / "submission.csv", newline="") as file:
        predicted = {row["guid"]: row["tag"] for row in csv.DictReader(file)}
    with open(trained / "validation_predictions.csv", newline="") as file:
        held_out = {row["guid"] for row in csv.DictReader(file)}
    rows = [
        row
        for row in open_dataset(sample).select(TRAINING).rows()
        if part == "all" or (row.guid in held_out) == (part == "validation")
    ]
    tags, guesses = [row.label for row in rows], [predicted[row.guid] for row in rows]
    scores = json.loads(result.out)
    assert scores["pairs"] == len(rows)
    assert scores["accuracy"] == pytest.approx(accuracy_score(tags, guesses))
    assert scores["macro_f1"] == pytest.approx(f1_score(tags, guesses, average="macro"))


@pytest.mark.parametrize("suffix", [".txt", ".jpg"])
@pytest.mark.parametrize("fault", ["missing", "broken"])
def test_a_file_that_cannot_be_used_is_named_with_its_row(
    run_command, bundle, sample, tmp_path, suffix, fault
):
    folder = shutil.copytree(sample, tmp_path / "data")
    pair = next(open_dataset(folder).select(TRAINING).rows())
    file = folder / "data" / f"{pair.guid}{suffix}"
    file.unlink()
    if fault == "broken":
        file.write_bytes(b"\xff\xff")
    arguments = ("--model", bundle, "--data", folder, "--split", "all")
    result = run_command("mmsent", "evaluate", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert f"1 problem in the data; nothing was evaluated:\n  {TRAIN_LIST} line 2" in result.err
    assert file.name in result.err


def test_the_text_output_is_a_table(run_command, bundle, sample):
    result = run_command("mmsent", "evaluate", "--model", bundle, "--data", sample, cwd=sample)
    assert "precision  recall      f1  support" in result.out
    assert "8 pairs" in result.out


def predictions(run):
    with open(run / "validation_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([SENTIMENTS.index(row["tag"]) for row in rows])
    return labels, np.array([[float(row[name]) for name in SENTIMENTS] for row in rows])


def test_the_report_shows_the_most_confident_mistakes(trained):
    labels, probabilities = predictions(trained)
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    assert len(wrong) > 0
    worst = wrong[probabilities[wrong].max(1).argmax()]
    with open(trained / "validation_predictions.csv", newline="") as file:
        guid = list(csv.DictReader(file))[worst]["guid"]
    table = (trained / "report.md").read_text().split("| --- | --- | --- | --- | --- |\n")[1]
    assert table.startswith(f"| {guid} |")
    assert table.split("\n\n")[0].count("\n") + 1 == min(12, len(wrong))


def test_the_temperature_maximises_the_likelihood():
    """No other temperature gives a smaller log loss, as scikit-learn computes it."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    logits = 4 * (np.eye(3)[labels] + generator.normal(size=(300, 3))).astype(np.float32)
    calibration = calibrate(logits, labels)

    def loss(temperature):
        return log_loss(labels, softmax(logits / temperature, axis=1), labels=[0, 1, 2])

    best = loss(calibration.temperature)
    assert best < loss(1.0) - 0.1
    assert all(best <= loss(other) + 1e-6 for other in np.linspace(0.5, 10, 200))
    assert calibration.error_after < calibration.error_before


def test_the_calibration_error_is_the_bins_weighted_gap(run_command, bundle, sample, tmp_path):
    """Compared with a computation pair by pair, and with the picture."""
    arguments = ("--model", bundle, "--data", sample, "--split", "all", "--json")
    result = run_command("mmsent", "evaluate", *arguments, "--pictures", "pictures", cwd=tmp_path)
    assert result.code == 0, result.err
    scores = json.loads(result.out)
    run_command(
        "mmsent-infer", sample / TRAIN_LIST, "--model", bundle, "--probabilities", cwd=tmp_path
    )
    tags = {row.guid: row.label for row in open_dataset(sample).select(TRAINING).rows()}
    bins = {}
    with open(tmp_path / "submission.csv", newline="") as file:
        for row in csv.DictReader(file):
            confidence = max(float(row[name]) for name in SENTIMENTS)
            right = row["tag"] == tags[row["guid"]]
            bins.setdefault(int(confidence * 10), []).append((confidence, right))
    gaps = [abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins.values()]
    assert scores["calibration_error"] == pytest.approx(sum(gaps) / len(tags), abs=1e-5)
    assert sum(row["pairs"] for row in scores["reliability"]) == len(tags)
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "pictures" / name) as image:
            assert min(image.size) > 300


def test_the_intervals_are_scipys_bootstrap():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 200)
    predicted = np.where(generator.random(200) < 0.6, labels, generator.integers(0, 3, 200))

    def accuracy(one, other, axis):
        return (one == other).mean(axis)

    def macro(one, other, axis):
        shares = [
            2 * ((one == label) & (other == label)).sum(axis)
            / ((one == label).sum(axis) + (other == label).sum(axis))
            for label in range(3)
        ]  # fmt: skip
        return np.mean(shares, axis=0)

    found = bootstrap_intervals(labels, predicted, 3)
    for name, measure in (("accuracy", accuracy), ("macro_f1", macro)):
        wanted = bootstrap(
            (labels, predicted), measure, paired=True, vectorized=True, n_resamples=2000,
            method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        assert getattr(found, name) == pytest.approx([wanted.low, wanted.high], abs=0.02)


@pytest.mark.parametrize("never", [0, 5])
def test_a_label_that_a_resample_lacks_does_not_lower_macro_f1(never):
    """As scikit-learn's zero_division=nan; a label that no pair has at all counts as 0."""
    labels = np.repeat(np.arange(20), 2)
    predicted = np.where(np.arange(40) % 13 == 0, (labels + 1) % 20, labels)

    def macro(one, other):
        present = f1_score(
            one, other, labels=range(20), average="macro", zero_division=np.nan
        )  # fmt: skip
        seen = len(np.union1d(one, other))
        return present * seen / (seen + never)

    found = bootstrap_intervals(labels, predicted, 20 + never).macro_f1
    assert found[0] < macro(labels, predicted) < found[1]
    wanted = bootstrap(
        (labels, predicted), macro, paired=True, vectorized=False, n_resamples=400,
        method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.03)


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_weighted_f1_and_auroc_are_scikit_learns(classes):
    """With two classes, AUROC is that of the second one's probability."""
    generator = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, 300)])
    logits = 2 * np.eye(classes)[labels] + generator.normal(size=(len(labels), classes))
    probabilities = softmax(logits, axis=1).astype(np.float32)
    scores = score(labels, probabilities, [str(number) for number in range(classes)])
    wanted = f1_score(labels, probabilities.argmax(1), average="weighted", zero_division=0)
    assert scores.weighted_f1 == pytest.approx(wanted)
    ranked = probabilities[:, 1] if classes == 2 else softmax(logits, axis=1)
    area = roc_auc_score(labels, ranked, multi_class="ovr", average="macro")
    assert scores.auroc == pytest.approx(area, abs=1e-6)
    assert f"AUROC {area:.3f}" in describe(scores)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    """Mann and Whitney's statistic by hand: 3 of 4, and a tie counts one half."""
    labels, second = np.array([0, 1, 0, 1]), np.array([0.4, 0.4, 0.1, 0.3], np.float32)
    scores = score(labels, np.stack([1 - second, second], 1), ("no", "yes"))
    assert scores.auroc == pytest.approx((0.5 + 1 + 0 + 1) / 4)


@pytest.mark.parametrize("classes", [2, 3])
def test_there_is_no_auroc_if_a_class_has_no_pair(classes):
    labels = np.zeros(5, int)
    probabilities = np.full((5, classes), 1 / classes, np.float32)
    scores = score(labels, probabilities, ("a", "b", "c")[:classes])
    assert scores.auroc is None
    assert "AUROC undefined" in describe(scores)


def test_the_majority_baseline_is_next_to_the_accuracy(trained):
    labels, _ = predictions(trained)
    share = np.bincount(labels).max() / len(labels)
    name = SENTIMENTS[np.bincount(labels).argmax()]
    report = (trained / "report.md").read_text()
    assert f"majority baseline, always {name!r}: accuracy {share:.3f}" in report


def test_a_table_is_aligned_in_any_script():
    """East Asian characters are two columns wide."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    names = ("非仇恨" * 5, "a" * 29, "e\u0301")
    _, *rows = describe(score(np.array([0, 1, 2]), probabilities, names)).splitlines()[:4]
    assert [row.index("1.000") for row in rows] == [36 - 15, 36, 36 + 1]


@pytest.mark.parametrize("right", [0, 1, 5])
def test_the_scores_are_scikit_learns_even_if_none_is_right(right):
    """In that case, scikit-learn counts in floats."""
    names, labels = ("a", "b", "c"), np.array([0, 0, 1, 2, 2])
    predicted = np.where(np.arange(5) < right, labels, (labels + 1) % 3)
    scores = score(labels, np.eye(3, dtype=np.float32)[predicted], names)
    report = classification_report(
        labels, predicted, target_names=names, output_dict=True, zero_division=0
    )
    assert scores.macro_f1 == pytest.approx(report["macro avg"]["f1-score"])
    for name in names:
        got = scores.classes[name]
        wanted = report[name]
        assert [got.precision, got.recall, got.f1] == pytest.approx(
            [wanted["precision"], wanted["recall"], wanted["f1-score"]]
        )
        assert f"{got.support:d}" == f"{wanted['support']:.0f}"
    assert f"accuracy {right / 5:.3f}" in describe(scores)


def test_mcnemar_is_the_exact_binomial_test():
    """Six pairs against one: both tails of seven coin tosses, 2 * (1 + 7) / 128."""
    labels = np.zeros(20, int)
    one, other = labels.copy(), labels.copy()
    other[:6], one[6] = 1, 1
    test = mcnemar(one == labels, other == labels)
    assert (test.only_one, test.only_other) == (6, 1)
    assert test.p == pytest.approx(2 * 8 / 128)
    assert mcnemar(one == labels, one == labels).p == 1


@pytest.fixture(scope="module")
def ablation(run_command, few, tmp_path_factory):
    """The folder of an ablation, with its runs/."""
    folder = tmp_path_factory.mktemp("ablation")
    result = run_command(
        "mmsent", "ablate", "--model", "light", "--epochs", 1, "--data", few, cwd=folder
    )
    assert result.code == 0, result.err
    return folder / "runs"


def test_ablate_compares_three_trainings(ablation):
    (folder,) = (path.parent for path in ablation.glob("*/ablation.json"))
    comparison = json.loads((folder / "ablation.json").read_text())
    right = {}
    for name in ("both", "text", "image"):
        record = json.loads((folder / name / "run.json").read_text())
        assert record["settings"]["modality"] == name
        labels, probabilities = predictions(folder / name)
        right[name] = probabilities.argmax(1) == labels
        result = comparison["results"][name]
        assert result["accuracy"] == pytest.approx(right[name].mean())
        low, high = result["intervals"]["accuracy"]
        assert low <= result["accuracy"] <= high
    assert [*comparison["tests"]] == ["both and text", "both and image", "text and image"]
    for names, test in comparison["tests"].items():
        one, other = (right[name] for name in names.split(" and "))
        assert test["only_one"] == (one & ~other).sum()
        assert test["only_other"] == (other & ~one).sum()
    report = (folder / "ablation.md").read_text()
    assert report.count("precision  recall      f1  support") == 3
    assert (folder / "ablation.png").exists()


def test_after_an_ablation_the_latest_run_is_the_one_on_both(ablation):
    latest = (ablation / "latest").resolve()
    assert read_run(latest).record.settings.modality == "both"

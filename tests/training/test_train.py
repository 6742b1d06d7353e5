"""`mmsent train`: the run it writes, and what it refuses."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from torch import nn

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST, image_file, text_file
from mmsent.data.labels import SENTIMENTS
from mmsent_training.batches import divide_epoch
from mmsent_training.loop import RunningStatistics
from mmsent_training.loss import Criterion
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.optim import warmup_cosine
from mmsent_training.settings import Settings
from mmsent_training.train import train

# The labels of a hundred training pairs.
LABELS_OF_PAIRS = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([30, 10, 60]))
FILES = {
    "run.json", "checkpoint.safetensors", "tokenizer.json", "history.csv",
    "validation_predictions.csv", "report.md", "curves.png", "confusion.png", "reliability.png",
    "mistakes.png", "digests.json",
}  # fmt: skip


@pytest.fixture
def dataset(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "dataset")


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_complete(trained):
    assert {path.name for path in trained.iterdir()} == FILES
    record = json.loads((trained / "run.json").read_text())
    assert record["settings"]["seed"] == 42
    assert record["dataset"]["train_pairs"] == 72
    assert record["chosen"] == "Asked for with --model light"
    assert record["environment"]["libraries"]["torch"]
    for name in ("curves.png", "confusion.png"):
        with Image.open(trained / name) as image:
            assert min(image.size) > 300


def test_the_validation_pairs_are_those_of_the_published_split(trained, sample):
    rows = list(open_dataset(sample).select(TRAINING).rows())
    _, wanted = train_test_split(
        rows, test_size=0.1, random_state=42, stratify=[row.label for row in rows]
    )
    got = table(trained / "validation_predictions.csv")
    assert [(row["guid"], row["tag"]) for row in got] == [(row.guid, row.label) for row in wanted]


def test_the_metrics_are_scikit_learns_over_the_predictions(trained):
    rows = table(trained / "validation_predictions.csv")
    tags, predicted = ([row[name] for row in rows] for name in ("tag", "predicted"))
    metrics = json.loads((trained / "run.json").read_text())["metrics"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(tags, predicted))
    wanted = f1_score(tags, predicted, labels=SENTIMENTS, average="macro", zero_division=0)
    assert metrics["macro_f1"] == pytest.approx(wanted)
    assert f"accuracy {metrics['accuracy']:.3f}" in (trained / "report.md").read_text()


def train_light(run_command, data, *options, cwd):
    result = run_command("mmsent", "train", "--model", "light", "--data", data, *options, cwd=cwd)
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def reference(run_command, few, tmp_path_factory):
    """A run with the preset "reference"."""
    folder = tmp_path_factory.mktemp("reference")
    options = ("--preset", "reference", "--epochs", 3, "--output", "run")
    train_light(run_command, few, *options, cwd=folder)
    return folder / "run"


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_the_history_marks_the_epoch_that_is_kept(request, preset):
    run = request.getfixturevalue("trained" if preset == "default" else "reference")
    history = table(run / "history.csv")
    record = json.loads((run / "run.json").read_text())
    scores = [float(row["macro_f1"]) for row in history]
    assert len(history) == record["epochs"] > 1
    kept = history[-1] if preset == "default" else history[int(np.argmax(scores))]
    assert int(kept["epoch"]) == record["kept_epoch"]
    assert float(kept["accuracy"]) == pytest.approx(record["metrics"]["accuracy"], abs=1e-5)


@pytest.fixture(scope="module")
def runs(run_command, few, tmp_path_factory):
    """The folder of three runs, in the order of their names; the last has another seed."""
    folder = tmp_path_factory.mktemp("three")
    for seed in ((), (), ("--seed", 1)):
        train_light(run_command, few, "--epochs", 1, *seed, cwd=folder)
    return folder / "runs"


def in_order(runs):
    return sorted(runs.glob("light-*"), key=lambda path: path.stat().st_mtime)


def test_the_same_seed_gives_the_same_run(runs):
    one, same, other = ((run / "checkpoint.safetensors").read_bytes() for run in in_order(runs))
    assert one == same
    assert one != other


def test_the_newest_run_is_the_latest(runs):
    assert (runs / "latest").resolve() == in_order(runs)[-1].resolve()


def test_the_reference_preset_is_the_reports(reference):
    record = json.loads((reference / "run.json").read_text())
    settings = record["settings"]
    expected = {
        "batch_size": 16, "learning_rate": 2e-3, "weight_decay": 1e-4, "warmup_ratio": 0.1,
        "max_grad_norm": 1.0, "color_jitter": 0.15, "keep": "best", "patience": 3,
        "class_weights": True, "logit_adjustment": 0.0, "label_smoothing": 0.0, "ema_decay": 0.0,
        "modality_dropout": 0.0, "max_length": 96,
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected
    assert set(record["model"]) == {"name", "vocabulary", "labels", "modality"}


def test_compact_has_no_reference_preset(run_command, sample, tmp_path):
    arguments = ("--model", "compact", "--preset", "reference", "--data", sample)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert "no compact model" in result.err


def test_training_uses_the_allowed_cores_and_restores_pytorchs_threads(few, tmp_path):
    """One core of two, as in a container; called from a notebook, which continues to run."""
    settings = default_settings("light", "cpu", epochs=1, modality="text")
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    torch.set_num_threads(2)
    environment = dict(os.environ)
    os.sched_setaffinity(0, {min(cores)})
    try:
        run = train(few, settings, choose("light", {}), tmp_path / "run")
        assert torch.get_num_threads() == 2
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
    assert json.loads((run / "run.json").read_text())["environment"]["threads"] == 1
    assert torch.equal(torch.rand(3), drawn)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert dict(os.environ) == environment


def test_training_stops_if_nothing_improves(run_command, few, tmp_path):
    """With almost no learning rate, the first epoch stays the best."""
    options = ("--preset", "reference", "--modality", "text", "--epochs", 9)
    options = (*options, "--learning-rate", 1e-12, "--output", "run")
    result = train_light(run_command, few, *options, cwd=tmp_path)
    assert "stopped early" in result.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["epochs"] < 9


def test_bad_data_is_reported_and_no_run_is_written(run_command, dataset, tmp_path):
    rows = list(open_dataset(dataset).select(TRAINING).rows())
    os.remove(image_file(dataset, rows[0].guid))
    with open(text_file(dataset, rows[1].guid), "wb") as file:
        file.write(b"\xff")
    with open(dataset / TRAIN_LIST, "a") as file:
        file.write(f"{rows[2].guid},{rows[2].label}\n5,fine\n")
    result = run_command("mmsent", "train", "--model", "light", "--data", dataset, cwd=tmp_path)
    assert result.code == 2
    for named in (rows[0].guid, rows[1].guid, "line 82", "line 83"):
        assert named in result.err
    assert not (tmp_path / "runs").exists()


def test_every_broken_image_is_reported_and_no_run_is_written(run_command, dataset, tmp_path):
    rows = list(open_dataset(dataset).select(TRAINING).rows())
    broken = [image_file(dataset, row.guid) for row in rows[::40]]
    for path in broken:
        os.truncate(path, 200)
    result = run_command("mmsent", "train", "--model", "light", "--data", dataset, cwd=tmp_path)
    assert result.code == 2
    assert all(path in result.err for path in broken)
    assert not (tmp_path / "runs").exists()


def test_a_list_too_short_to_split(run_command, dataset, tmp_path):
    lines = (dataset / TRAIN_LIST).read_text().splitlines()
    (dataset / TRAIN_LIST).write_text("\n".join(lines[:6]))
    result = run_command("mmsent", "train", "--model", "light", "--data", dataset, cwd=tmp_path)
    assert result.code == 2
    assert "training needs at least 2" in result.err


@pytest.mark.parametrize(
    ("fraction", "message"),
    [(0.99, "99% of them are set aside for validation, and each label needs one among the others"),
     (0.001, "0.1% of them are set aside for validation, and each label needs one there")],
)  # fmt: skip
def test_a_share_that_leaves_a_side_without_a_label(
    run_command, sample, tmp_path, fraction, message
):
    chosen = ("--model", "light", "--set", f"validation_fraction={fraction}")
    result = run_command("mmsent", "train", "--data", sample, *chosen, cwd=tmp_path)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_an_output_folder_is_not_overwritten(run_command, sample, trained):
    arguments = ("--data", sample, "--output", trained)
    result = run_command("mmsent", "train", "--model", "light", *arguments, cwd=trained.parent)
    assert result.code == 2
    assert "is not an empty folder" in result.err


def test_a_requested_gpu_that_is_missing(run_command, sample, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ("--data", sample, "--device", "cuda")
    result = run_command("mmsent", "train", "--model", "light", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert "PyTorch sees no GPU" in result.err


def test_class_weights_are_inverse_to_frequency_with_mean_one():
    weights = Criterion(LABELS_OF_PAIRS, 3, Settings(model="light")).weights.numpy()
    assert weights.mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)
    assert weights[0] / weights[2] == pytest.approx(2)


def test_the_loss_is_pytorchs_over_adjusted_logits():
    settings = Settings(
        model="light", class_weights=False, logit_adjustment=0.5, label_smoothing=0.1
    )
    logits, wanted = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    shift = 0.5 * torch.tensor([0.3, 0.1, 0.6]).log()
    reference = nn.CrossEntropyLoss(label_smoothing=0.1)(logits + shift, wanted)
    loss = Criterion(LABELS_OF_PAIRS, 3, settings)(logits, wanted)
    assert float(loss) == pytest.approx(float(reference))


def test_light_gets_the_lexicon(trained):
    """As far as the sample's letters can spell it."""
    weights = load_file(trained / "checkpoint.safetensors")
    assert np.count_nonzero(weights["lexicon.tenths"]) > 1000
    assert weights["lexicon_head.weight"].any()


def test_the_light_model_is_told_the_words_and_the_images(trained):
    weights = load_file(trained / "checkpoint.safetensors")
    assert np.count_nonzero(weights["word_vectors.vectors"].any(1)) > 1000
    assert weights["word_head.weight"].any()
    assert weights["image_statistics.mean"].any()


@pytest.mark.parametrize("class_weights", [True, False])
def test_the_losses_of_a_steps_batches_add_up(class_weights):
    labels = torch.arange(32) % 3
    criterion = Criterion(
        LABELS_OF_PAIRS,
        3,
        Settings(
            model="light", class_weights=class_weights, logit_adjustment=0.5, label_smoothing=0.1
        ),
    )
    logits = torch.randn(32, 3)
    parts = [
        criterion(*(array[rows] for array in (logits, labels)), labels)
        for rows in (slice(0, 20), slice(20, 32))
    ]
    assert float(sum(parts)) == pytest.approx(float(criterion(logits, labels)))


def test_running_statistics_move_by_the_mean_of_a_steps_batches():
    """Compared with PyTorch's batch norms, each on one of the batches."""
    model, first, second = (nn.BatchNorm1d(5) for _ in range(3))
    statistics = RunningStatistics(model)
    for _ in range(3):
        for one in (first, second):
            one.load_state_dict(model.state_dict())
            batch = torch.randn(8, 5) + 3
            one(batch)
            model(batch)
            statistics.take(True)
        model(torch.full((8, 5), torch.inf))
        statistics.take(False)  # one that is not counted
        statistics.step(2)
        for mine, a, b in zip(*(item.buffers() for item in (model, first, second))):
            torch.testing.assert_close(mine, ((a + b) / 2).to(mine.dtype))


def test_the_loss_in_the_history_is_the_mean_over_the_training_pairs(run_command, few, tmp_path):
    """With almost no learning rate, it is that of chance."""
    train_light(
        run_command, few, "--preset", "reference", "--modality", "text", "--epochs", 1,
        "--learning-rate", 1e-12, "--batch-size", 5, "--gradient-accumulation-steps", 3,
        "--output", "run", cwd=tmp_path,
    )  # fmt: skip
    [epoch] = table(tmp_path / "run" / "history.csv")
    assert float(epoch["train_loss"]) == pytest.approx(np.log(3), abs=0.1)


@given(
    lengths=st.lists(st.integers(1, 96), min_size=1, max_size=300),
    batch_size=st.integers(1, 20),
    accumulation=st.integers(1, 3),
    grouped=st.booleans(),
)
def test_an_epoch_has_every_pair_once(lengths, batch_size, accumulation, grouped):
    settings = Settings(
        model="light",
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        group_by_length=grouped,
    )
    steps = divide_epoch(torch.tensor(lengths), settings, 1)
    batches = [batch for step in steps for batch in step]
    assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    assert set(sizes[:-1]) <= {batch_size}
    assert [len(step) for step in steps[:-1]] == [accumulation] * (len(steps) - 1)


def test_grouping_by_length_saves_padding_and_changes_every_epoch():
    lengths = torch.randint(10, 60, (512,), generator=torch.Generator().manual_seed(1))

    def padded(grouped: bool, epoch: int) -> float:
        settings = Settings(model="light", group_by_length=grouped, gradient_accumulation_steps=2)
        steps = divide_epoch(lengths, settings, epoch)
        return sum(len(rows) * int(lengths[rows].max()) for step in steps for rows in step)

    assert padded(False, 1) > 1.5 * lengths.sum()
    assert padded(True, 1) < 1.1 * lengths.sum()
    assert padded(True, 1) != padded(True, 2)


def test_the_learning_rate_rises_then_falls():
    """As in transformers' cosine schedule, except that its first step has rate 0."""
    factor = warmup_cosine(100, 0.1)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == pytest.approx(1)
    assert factor(55) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0, abs=1e-9)

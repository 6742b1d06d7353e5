"""Other labels than the sentiments, from the list to the report, the bundle and its scores."""

import csv
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.labels import SENTIMENTS, label_columns
from mmsent_training.loss import Criterion
from mmsent_training.models import clip, compact, light
from mmsent_training.models.compact import uses_pretraining_texts
from mmsent_training.runs.resume import read_state
from mmsent_training.runs.run import is_finished
from mmsent_training.settings import Settings

from .clip_checkpoint import write_checkpoint
from .tasks import clip_task, make_task

FORTY = tuple(f"kind {number} of {40}" for number in range(40))
SETS = {
    "two": ("1", "0"),
    "six, numbers": ("10", "-1", "2", "0.5", "100", "0"),
    "chinese": ("非仇恨", "仇恨", "C++"),
    "forty": FORTY,
    "like columns": ("guid", "tag", "predicted", "error"),
    "like nothing": ("None", "NA", "nan", "$a_b$"),
}
IN_ORDER = {
    "two": ("0", "1"),
    "six, numbers": ("-1", "0", "0.5", "2", "10", "100"),
    "chinese": ("C++", "仇恨", "非仇恨"),
    "forty": tuple(sorted(FORTY)),
    "like columns": ("error", "guid", "predicted", "tag"),
    "like nothing": ("$a_b$", "NA", "None", "nan"),
}


def draw(run_command, folder, labels):
    """A dataset folder with pairs of these labels: ten a label, and 40 at least."""
    result = run_command(
        "mmsent", "sample-data", folder, "--pairs", max(40, 10 * len(labels)),
        "--labels", ",".join(labels), cwd=folder.parent,
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder


def train(run_command, data, output, *options, **how):
    arguments = ("--model", "light", "--epochs", 1, "--data", data, "--output", output)
    return run_command("mmsent", "train", *arguments, *options, cwd=output.parent, **how)


@pytest.fixture(scope="module", params=SETS)
def trained_on(request, run_command, make_once):
    """The labels as drawn pairs are trained to have them, the dataset, and the run."""

    def fill(folder):
        data = draw(run_command, folder / "data", SETS[request.param])
        result = train(run_command, data, folder / "run", pictures=True)
        assert result.code == 0, result.err

    folder = make_once(f"labels-{request.param}", fill)
    return IN_ORDER[request.param], folder / "data", folder / "run"


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_run_has_the_lists_labels(trained_on):
    labels, _, run = trained_on
    record = json.loads((run / "run.json").read_text())
    assert tuple(record["labels"]) == labels
    assert tuple(record["metrics"]["classes"]) == labels
    assert np.shape(record["metrics"]["confusion"]) == (len(labels), len(labels))
    assert record["model"]["lexicon"] is False
    report = (run / "report.md").read_text()
    assert all(f"{label}  " in report for label in labels)
    assert (run / "mistakes.png").exists() == (record["metrics"]["accuracy"] < 1)
    for name in ("confusion", "reliability", "curves"):
        with Image.open(run / f"{name}.png") as image:
            assert min(image.size) > 300
            assert max(image.size) < 2500


def test_validation_predictions_have_a_column_for_each_label(trained_on):
    labels, _, run = trained_on
    header, *rows = read_csv(run / "validation_predictions.csv")
    assert len(set(header)) == len(header) == 3 + len(labels)
    for _, tag, predicted, *numbers in rows:
        assert tag in labels
        assert labels[np.argmax([float(number) for number in numbers])] == predicted
        assert sum(map(float, numbers)) == pytest.approx(1, abs=1e-4)


def test_a_bundle_predicts_and_is_scored_by_its_labels(run_command, trained_on, tmp_path):
    labels, data, run = trained_on
    result = run_command("mmsent-export", "onnx", run, "--output", "model.onnx", cwd=tmp_path)
    assert result.code == 0, result.err
    assert SentimentModel(tmp_path / "model.onnx").labels == labels
    for output in ("out.csv", "out.parquet"):
        arguments = (data / "train.txt", "--output", output, "--probabilities")
        result = run_command("mmsent-infer", *arguments, cwd=tmp_path)
        assert result.code == 0, result.err
    header, *rows = read_csv(tmp_path / "out.csv")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == header
    assert len(set(header)) == 2 + len(labels)
    assert list(zip(*(table.column(name).to_pylist() for name in header[:2]))) == [
        (guid, tag) for guid, tag, *_ in rows
    ]
    numbers = np.array([row[2:] for row in rows], float)
    assert np.stack([table.column(name) for name in header[2:]], 1) == pytest.approx(numbers)
    assert [labels[number] for number in numbers.argmax(1)] == [row[1] for row in rows]
    arguments = ("--data", data, "--split", "all", "--json", "--pictures", "pictures")
    result = run_command("mmsent", "evaluate", *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    scores = json.loads(result.out)
    tags = [pair.label for pair in open_dataset(data).select(TRAINING).rows()]
    guesses = [row[1] for row in rows]
    assert scores["accuracy"] == pytest.approx(accuracy_score(tags, guesses))
    for average in ("macro", "weighted"):
        wanted = f1_score(tags, guesses, labels=labels, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(wanted)


@given(st.permutations(["guid", "tag", "tag_", "guid_", "guid__", "x"]), st.integers(2, 6))
def test_a_label_never_shares_a_column(labels, number):
    """The law: whatever the labels, each column has a name of its own, its label's if possible."""
    found = label_columns(labels[:number], ("guid", "tag"))
    names = ["guid", "tag", *found.values()]
    assert len(set(names)) == len(names)
    assert [*found] == labels[:number]
    for label, name in found.items():
        assert (name == label) == (label not in ("guid", "tag"))


def test_sample_data_refuses_what_can_be_no_labels(run_command, tmp_path):
    for labels, reason in (("a,=b", "formula"), ("a,a", "different"), ("a", "two"), ("a,", "miss")):
        arguments = ("sample-data", "data", "--labels", labels)
        result = run_command("mmsent", *arguments, cwd=tmp_path)
        assert result.code == 2
        assert reason in result.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("labels", [2, 3, 16, 17, 40])
@pytest.mark.parametrize("modality", ["both", "text", "image"])
def test_the_light_model_has_as_many_logits_as_labels(labels, modality):
    model = light.LightModel(50, labels, modality, **light.NETWORKS["default"]).eval()
    known = [*range(labels)] * 3
    model.learn_ngrams([[1, 2 + label] for label in known], known)
    ids, mask = torch.tensor([[1, labels]]), torch.ones(1, 2, dtype=torch.int64)
    with torch.no_grad():
        logits = model(ids, mask, torch.zeros(1, 112, 112, 3, dtype=torch.uint8))
    assert logits.shape == (1, labels)
    if model.ngrams:  # a token that one label alone has says so
        assert model.bag.weight.shape[1] == max(16, labels)
        assert model.bag_head(model.embed_ngrams(ids, mask)).argmax() == labels - 2


@pytest.mark.parametrize("labels", [("no", "yes"), FORTY], ids=len)
def test_compact_and_clip_take_any_number_of_labels(labels, tmp_path):
    ids, mask = torch.tensor([[3, 2]]), torch.ones(1, 2, dtype=torch.int64)
    tasks = {
        compact: make_task("compact", compact.find_weights({}), label_names=labels),
        clip: clip_task(write_checkpoint(tmp_path / "clip"), label_names=labels),
    }
    for recipe, task in tasks.items():
        inputs = recipe.read_inputs(task)
        description, model = recipe.create(task, inputs, [])
        pixels = torch.zeros(1, inputs.image.size, inputs.image.size, 3, dtype=torch.uint8)
        with torch.no_grad():
            assert model.eval()(ids, mask, pixels).shape == (1, len(labels))
        again = recipe.build(**description)
        assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("model", ["clip", pytest.param("compact", marks=pytest.mark.slow)])
def test_pretrained_models_train_on_two_labels(run_command, sample, tmp_path, model, monkeypatch):
    monkeypatch.setenv("MMSENT_CACHE", str(tmp_path / "cache"))
    data = shutil.copytree(sample, tmp_path / "data")
    text = (data / "train.txt").read_text().replace("negative", "no")
    (data / "train.txt").write_text(re.sub("neutral|positive", "yes", text))
    own = ("--clip", write_checkpoint(tmp_path / "clip")) if model == "clip" else ()
    result = train(run_command, data, tmp_path / "run", "--model", model, *own)
    assert result.code == 0, result.err
    assert result.err.count("no pretraining: the rated texts") == (model == "compact")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["labels"] == ["no", "yes"]
    assert record["model"].get("pretraining_texts") == (False if model == "compact" else None)


@pytest.mark.parametrize(
    ("labels", "options", "modality", "wanted"),
    [
        (SENTIMENTS, {}, "both", True),
        (SENTIMENTS[::-1], {}, "text", True),
        (SENTIMENTS, {}, "image", False),
        (SENTIMENTS, {"pretraining_texts": False}, "both", False),
        (SENTIMENTS[:2], {}, "both", False),
        (("0", "1"), {}, "both", False),
        (("0", "1"), {"pretraining_texts": True}, "both", True),
        (("0", "1"), {"pretraining_texts": True}, "image", False),
    ],
)
def test_rated_texts_are_for_sentiments_unless_asked_for(labels, options, modality, wanted):
    weights = compact.find_weights({})
    task = make_task("compact", weights, label_names=labels, options=options, modality=modality)
    assert uses_pretraining_texts(task) == wanted
    assert compact.create(task, compact.read_inputs(task), [])[0]["pretraining_texts"] == wanted


def test_the_light_models_lexicon_is_for_sentiments(caplog):
    caplog.set_level("INFO")
    for labels in (SENTIMENTS, SENTIMENTS[::-1], SENTIMENTS[1:]):
        task = make_task("light", None, label_names=labels)
        description, model = light.create(task, light.read_inputs(task), [])
        assert description["lexicon"] == (len(labels) == 3)
        assert (model.lexicon is None) == (len(labels) == 2)
    assert caplog.text.count("no lexicon") == 1


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("weights", [False, True])
def test_the_loss_of_a_class_without_a_pair_is_finite(shift, weights):
    """And so is every gradient; another class' share of it is what it was."""
    settings = Settings(model="light", class_weights=weights, logit_adjustment=shift)
    labels = torch.tensor([0, 0, 2, 2, 2, 2])
    logits = torch.randn(6, 3, requires_grad=True)
    loss = Criterion(labels, 3, settings)(logits, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    absent = Criterion(labels, 3, settings)(logits, torch.ones(6, dtype=torch.int64))
    assert torch.isfinite(absent)


def test_a_learning_rate_that_diverges_ends_the_training(run_command, sample, tmp_path):
    run = tmp_path / "run"
    result = train(run_command, sample, run, "--learning-rate", "1e30", "--epochs", 3)
    assert result.code == 1
    assert result.err.count("Error: the loss is ") == 1
    assert "epoch 1" in result.err
    assert "lower --learning-rate than 1e+30" in result.err
    assert not is_finished(run)
    assert not (run / "run.json").exists()
    assert not (run / "checkpoint.safetensors").exists()
    result = run_command("mmsent-export", "onnx", run, cwd=tmp_path)
    assert result.code == 2
    assert "unfinished run" in result.err


@pytest.fixture(scope="module")
def two_epochs(run_command, few, tmp_path_factory):
    """The run of a training of which no loss was spoiled."""
    run = tmp_path_factory.mktemp("two-epochs") / "run"
    assert train(run_command, few, run, "--epochs", 2).code == 0
    return run


@pytest.mark.parametrize("value", ["nan", pytest.param("inf", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("part", "where"), [("step", "epoch 2, step 1 of 1"), ("validation", "validation of epoch 2")]
)
def test_a_loss_that_is_not_finite_leaves_the_last_good_epoch(
    run_command, few, two_epochs, tmp_path, monkeypatch, part, where, value
):
    """Whatever the cause; and from there the training can go on."""
    run, forward = tmp_path / "run", Criterion.forward

    def broken(self, logits, labels, whole=None):
        loss = forward(self, logits, labels, whole)
        saved = (run / "state.safetensors").exists()  # after the first epoch
        return loss * float(value) if saved and (whole is None) == (part == "validation") else loss

    with monkeypatch.context() as patch:
        patch.setattr(Criterion, "forward", broken)
        result = train(run_command, few, run, "--epochs", 2)
    assert result.code == 1
    assert f"the loss is {value} in" in result.err
    assert where in result.err
    assert [row["epoch"] for row in read_state(run)["result"]["history"]] == [1]
    assert not is_finished(run)
    result = run_command("mmsent", "train", "--resume", run, cwd=tmp_path)
    assert result.code == 0, result.err
    one, other = (folder / "checkpoint.safetensors" for folder in (run, two_epochs))
    assert one.read_bytes() == other.read_bytes()

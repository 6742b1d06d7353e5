"""Labels other than sentiments. test_any_data.py trains on several sets of them."""

import json
import re
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsent.data.labels import SENTIMENTS, label_columns
from mmsent_training.loss import Criterion
from mmsent_training.models import clip, compact, light
from mmsent_training.models.dual import uses_pretraining_texts
from mmsent_training.runs.resume import read_state
from mmsent_training.runs.run import is_finished
from mmsent_training.settings import Settings

from .clip_checkpoint import write_checkpoint
from .tasks import clip_task, make_task

FORTY = tuple(f"kind {number}" for number in range(40))


def train(run_command, data, output, *options, **how):
    arguments = ("--model", "light", "--epochs", 1, "--data", data, "--output", output)
    return run_command("mmsent", "train", *arguments, *options, cwd=output.parent, **how)


@given(st.permutations(["guid", "tag", "tag_", "guid_", "guid__", "x"]), st.integers(2, 6))
def test_a_label_never_shares_a_column(labels, number):
    """For any labels, all columns have different names, the label's own if possible."""
    found = label_columns(labels[:number], ("guid", "tag"))
    names = ["guid", "tag", *found.values()]
    assert len(set(names)) == len(names)
    assert [*found] == labels[:number]
    for label, name in found.items():
        assert (name == label) == (label not in ("guid", "tag"))


def test_sample_data_refuses_invalid_labels(run_command, tmp_path):
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
    if model.ngrams:  # a token that occurs only with one label favours it
        assert model.bag.weight.shape[1] == max(16, labels)
        assert model.bag_head(model.embed_ngrams(ids, mask)).argmax() == labels - 2


def test_compact_and_clip_take_any_number_of_labels(tmp_path):
    ids, mask = torch.tensor([[3, 2]]), torch.ones(1, 2, dtype=torch.int64)
    tasks = {
        compact: make_task("compact", compact.find_weights({}), label_names=FORTY),
        clip: clip_task(write_checkpoint(tmp_path / "clip"), label_names=FORTY),
    }
    for recipe, task in tasks.items():
        inputs = recipe.read_inputs(task)
        description, model = recipe.create(task, inputs, [])
        pixels = torch.zeros(1, inputs.image.size, inputs.image.size, 3, dtype=torch.uint8)
        with torch.no_grad():
            assert model.eval()(ids, mask, pixels).shape == (1, 40)
        again = recipe.build(**description)
        assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("model", ["clip", pytest.param("compact", marks=pytest.mark.slow)])
def test_pretrained_models_train_on_two_labels(run_command, few, tmp_path, model, monkeypatch):
    monkeypatch.setenv("MMSENT_CACHE", str(tmp_path / "cache"))
    data = shutil.copytree(few, tmp_path / "data")
    text = (data / "train.txt").read_text().replace("negative", "no")
    (data / "train.txt").write_text(re.sub("neutral|positive", "yes", text))
    own = ("--clip", write_checkpoint(tmp_path / "clip")) if model == "clip" else ()
    result = train(run_command, data, tmp_path / "run", "--model", model, *own)
    assert result.code == 0, result.err
    assert result.err.count("no pretraining: the rated texts") == (model == "compact")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["labels"] == ["no", "yes"]


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
def test_rated_texts_are_for_sentiments_unless_requested(labels, options, modality, wanted):
    weights = compact.find_weights({})
    task = make_task("compact", weights, label_names=labels, options=options, modality=modality)
    assert uses_pretraining_texts(task) == wanted


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
    """So is every gradient; the other classes' part of it does not change."""
    settings = Settings(model="light", class_weights=weights, logit_adjustment=shift)
    labels = torch.tensor([0, 0, 2, 2, 2, 2])
    logits = torch.randn(6, 3, requires_grad=True)
    loss = Criterion(labels, 3, settings)(logits, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    absent = Criterion(labels, 3, settings)(logits, torch.ones(6, dtype=torch.int64))
    assert torch.isfinite(absent)


def test_a_learning_rate_that_diverges_stops_the_training(run_command, few, tmp_path):
    run = tmp_path / "run"
    result = train(run_command, few, run, "--learning-rate", "1e30", "--epochs", 3)
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
    """The run of training with finite losses."""
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
    """Whatever the cause; the training can be resumed from it."""
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

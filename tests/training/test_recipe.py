"""A model defined by the tests, from training to prediction, that no other file knows."""

import csv

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mmsent import InputError, SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.inputs.text import pad_ids
from mmsent_export.export import export_run
from mmsent_training.evaluation.ablation import ablate
from mmsent_training.evaluation.bundle import evaluate_bundle
from mmsent_training.loop import Event
from mmsent_training.models import registry
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.runs.resume import read_start
from mmsent_training.runs.run import read_run
from mmsent_training.train import resume, train

from ..command import undrawn
from . import toy_model


class Killed(BaseException):
    """Simulates a SIGKILL."""


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Adding a model: one line."""
    registry.MODELS["toy"] = toy_model.MODEL
    yield
    del registry.MODELS["toy"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return toy_model.write_weights(tmp_path_factory.mktemp("toy") / "weights")


def train_toy(sample, output, weights, callback=lambda event: None, **chosen):
    choice = choose("toy", {"toy": str(weights)})
    settings = default_settings("toy", "cpu", **chosen)
    with undrawn():
        return train(sample, settings, choice, output, callback=callback)


@pytest.fixture(scope="module")
def run(sample, weights, tmp_path_factory):
    return train_toy(sample, tmp_path_factory.mktemp("toy") / "run", weights)


@pytest.fixture(scope="module")
def bundle(run):
    path = run.parent / "toy.onnx"
    verification = export_run(run, path)
    assert verification.changed_labels == 0
    return path


def test_the_run_records_the_recipe(run, weights):
    record = read_run(run).record
    assert record.model == {"name": "toy", "labels": 3, "vocabulary": 3 + len(toy_model.ALPHABET)}
    assert record.settings.options == {"freeze_colours": True}
    assert record.weights is not None
    assert record.weights.sha256 == toy_model.find_weights({"toy": str(weights)}).sha256
    assert (record.image.size, record.image.resize) == (20, "crop")
    assert record.chosen == "Asked for with --model toy"


@pytest.mark.parametrize("frozen", [True, False])
def test_its_pretrained_weights_are_frozen_or_change_slowly(sample, weights, tmp_path, frozen):
    run = train_toy(sample, tmp_path / "run", weights, epochs=1, freeze_colours=frozen)
    before = load_file(weights / "colours.safetensors")["weight"]
    after = load_file(run / "checkpoint.safetensors")
    difference = np.abs(after["colours.weight"] - before).max()
    assert difference == 0 if frozen else 0 < difference < 1e-4  # a rate of 1e-5, not 1e-2
    assert np.abs(after["head.bias"]).max() > 1e-4


def test_it_resumes_to_the_same_weights(sample, weights, run, tmp_path):
    def kill(event):
        if event == Event("step", 2, 1):
            raise Killed

    with pytest.raises(Killed):
        train_toy(sample, tmp_path / "run", weights, kill)
    start = read_start(tmp_path / "run")
    choice = choose("toy", start.sources)
    resumed = resume(tmp_path / "run", start, choice)
    for name in ("checkpoint.safetensors", "validation_predictions.csv", "tokenizer.json"):
        assert (resumed / name).read_bytes() == (run / name).read_bytes()


def test_its_bundle_agrees_with_pytorch(run_command, sample, run, bundle, tmp_path):
    result = run_command(
        "mmsent-infer", sample / TEST_LIST, "--model", bundle, "--probabilities", cwd=tmp_path
    )
    assert result.code == 0, result.err
    with open(tmp_path / "submission.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    loaded, network = read_run(run), read_run(run).load_model()
    for row, pair in zip(rows, open_dataset(sample / TEST_LIST).rows(), strict=True):
        inputs = [
            *pad_ids([loaded.tokenizer.encode(pair.read_text()).ids]),
            np.array(pair.load_image(loaded.record.image)[None]),
        ]
        with torch.inference_mode():
            logits = network(*map(torch.from_numpy, inputs))
        wanted = torch.softmax(logits, 1)[0].tolist()
        got = [float(row[label]) for label in loaded.record.labels]
        assert got == pytest.approx(wanted, abs=1e-6)


def test_its_bundle_accepts_a_missing_text_or_image(bundle):
    model = SentimentModel(bundle, threads=1)
    assert model.info.optional == ("text", "image")
    image = np.zeros((30, 40, 3), np.uint8)
    answers = [model.predict(text="fun"), model.predict(image=image), model.predict("fun", image)]
    assert len({answer.probabilities["positive"] for answer in answers}) == 3


def test_it_is_evaluated_and_ablated(sample, few, bundle, weights, tmp_path):
    assert evaluate_bundle(bundle, sample, "validation").scores.pairs == 8
    settings = default_settings("toy", "cpu", epochs=1)
    _, ablation = ablate(
        settings,
        tmp_path / "ablation",
        lambda settings, folder: train_toy(few, folder, weights, epochs=1),
    )
    assert [*ablation.results] == ["both", "text", "image"]


def test_auto_falls_back_to_the_next_available_model(weights, monkeypatch, caplog):
    light = registry.MODELS["light"]
    monkeypatch.setattr(registry, "MODELS", {"toy": toy_model.MODEL, "light": light})
    assert choose("auto", {"toy": str(weights)}).model == "toy"
    with caplog.at_level("WARNING", logger="mmsent_training"):
        choice = choose("auto", {"toy": "/none"})
    assert choice.model == "light"
    assert "the toy's weights are not in /none" in choice.reason
    what, fix = caplog.messages
    assert what.startswith("FALLBACK to the light model: toy: the toy's weights are not in /none")
    assert fix.endswith("run.json has the details")


def test_another_models_options_are_refused(weights):
    with pytest.raises(InputError, match="--freeze: the toy model has no such option"):
        choose("toy", {"toy": str(weights), "freeze": True})
    with pytest.raises(InputError, match="--no-freeze-colours: the light model has no such"):
        choose("light", {"freeze_colours": False})


@pytest.mark.parametrize("chosen", [{"epochs": 0}, {"modality": "sound"}, {"batch_size": 2.5}])
def test_an_unknown_setting_is_named(chosen):
    with pytest.raises(InputError, match=next(iter(chosen))):
        default_settings("toy", "cpu", **chosen)


def test_every_recipe_is_listed_with_its_file(request):
    readme = request.config.rootpath / "training/mmsent_training/models/README.md"
    text = readme.read_text()
    for name in registry.MODELS.keys() - {"toy"}:
        assert f"| `{name}` |" in text

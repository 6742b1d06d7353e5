"""`mmsent train --from RUN`: a training that starts from another run's weights."""

import csv
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmsent.data.folder import image_file
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError
from mmsent_training.digests import Digests
from mmsent_training.examples import read_examples
from mmsent_training.loop import Event
from mmsent_training.models import registry
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.runs.origin import choose_origin, settings_from
from mmsent_training.runs.run import read_run
from mmsent_training.train import train

from ..command import undrawn
from . import toy_model
from .clip_checkpoint import write_checkpoint

FEW, MORE = 40, 60
OTHERS = {"negative": "cold", "neutral": "mild", "positive": "warm"}
STILL = {"epochs": 1, "learning_rate": 1e-12, "encoder_learning_rate": 0.0, "weight_decay": 0.0}
"""Settings with which a training changes no parameter."""
MODELS = ["light", pytest.param("compact", marks=pytest.mark.slow), "clip", "toy"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    import_module("mmsent_training.cli")  # before the toy model adds its options
    registry.MODELS["toy"] = toy_model.MODEL
    yield
    del registry.MODELS["toy"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSENT_CACHE", str(folder))
        yield


@pytest.fixture(scope="module")
def pairs(sample):
    return TrainingSource(sample).read().train


@pytest.fixture(scope="module")
def write(sample, tmp_path_factory):
    """Write a list of pairs next to their images, optionally with renamed labels."""
    folder = shutil.copytree(sample, tmp_path_factory.mktemp("lists") / "dataset")

    def write(name, pairs, rename=None):
        with open(folder / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["guid", "text", "image", "label"])
            for pair in pairs:
                label = rename[pair.label] if rename else pair.label
                image = os.path.relpath(image_file(folder, pair.guid), folder)
                writer.writerow([pair.guid, pair.read_text(), image, label])
        return folder / name

    return write


@pytest.fixture(scope="module")
def lists(write, pairs):
    """A folder with a short list of pairs and a longer one."""
    write("few.csv", pairs[:FEW])
    write("renamed.csv", pairs[:MORE], OTHERS)
    return write("more.csv", pairs[:MORE]).parent


def begin(model, data, output, folder, **chosen):
    """Train from the start; pretrained weights are in ``folder`` only meanwhile."""
    sources = {"clip": write_checkpoint, "toy": toy_model.write_weights}
    options = {model: str(sources[model](folder / model))} if model in sources else {}
    settings = default_settings(model, "cpu", **({"epochs": 1} | chosen))
    with undrawn():
        train(data, settings, choose(model, options), output)
    shutil.rmtree(folder / model, ignore_errors=True)
    return output


def go_on(data, run, output, callback=lambda event: None, **more):
    """Train like `mmsent train --from RUN`."""
    where = {name: more.pop(name) for name in ("validation",) if name in more}
    choice, _ = choose_origin(run)
    settings = settings_from(choice, "cpu", STILL | more)
    with undrawn():
        return train(data, settings, choice, output, callback=callback, **where)


@pytest.fixture(scope="module")
def runs(lists, tmp_path_factory):
    """A run of each model on few pairs, trained on first use."""
    folder, known = tmp_path_factory.mktemp("runs"), {}

    def find(model):
        if model not in known:
            known[model] = begin(model, lists / "few.csv", folder / f"{model}-run", folder)
        return known[model]

    return find


def parameters(run):
    """A run's weights, without statistics that change even if the learning rate is 0."""
    weights = load_file(run / "checkpoint.safetensors")
    return {
        name: value
        for name, value in weights.items()
        if not re.search("running_|num_batches", name)
    }


def validated(run):
    with open(run / "validation_predictions.csv", newline="") as file:
        return [row["guid"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", MODELS)
def test_it_starts_only_from_the_weights_of_the_run(runs, lists, tmp_path, monkeypatch, model):
    """With almost no learning rate it also ends with them; it needs no pretrained weights."""
    run = runs(model)
    recipe = registry.find_model(model).recipe
    monkeypatch.setattr(recipe, "find_weights", lambda sources: pytest.fail("not asked for"))
    after = go_on(lists / "more.csv", run, tmp_path / "run")
    before, weights = parameters(run), parameters(after)
    assert weights.keys() == before.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(value, before[name], atol=1e-7, err_msg=name)
    assert (after / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    old, new = read_run(run).record, read_run(after).record
    assert (new.model, new.labels, new.image) == (old.model, old.labels, old.image)
    sha256 = hashlib.sha256((run / "checkpoint.safetensors").read_bytes()).hexdigest()
    assert (new.weights.name, new.weights.sha256) == (str(run), sha256)
    assert (new.origin.path, new.origin.new_head) == (run, False)
    assert new.chosen == f"Begins with the weights of {run}"


@pytest.mark.parametrize("model", MODELS)
def test_other_labels_get_a_new_head_and_nothing_else(runs, lists, tmp_path, caplog, model):
    caplog.set_level("INFO", logger="mmsent_training")
    run = runs(model)
    after = go_on(lists / "renamed.csv", run, tmp_path / "run")
    record = read_run(after).record
    assert record.labels == ("cold", "mild", "warm")
    assert record.origin.new_head
    assert f"the labels are not those of {run}: the model has a new head" in caplog.messages
    before, weights = parameters(run), parameters(after)
    changed = {name for name in weights if not np.allclose(weights[name], before[name], atol=1e-7)}
    head = {
        "light": {"head.3.weight", "head.3.bias"},
        "compact": {"head.classifier.weight", "head.classifier.bias"},
        "clip": {"head.3.weight", "head.3.bias"},
        "toy": {"head.weight", "head.bias"},
    }
    # The bag also depends on the labels: it is computed from the texts again.
    others = ("bag", "known", "lexicon_head", "word_head")
    assert {name for name in changed if not name.startswith(others)} == head[model]


def test_the_number_of_labels_may_differ(runs, lists, write, pairs, tmp_path):
    two = write("two.csv", pairs[:MORE], OTHERS | {"neutral": "warm"})
    for model in ("light", "toy"):
        record = read_run(go_on(two, runs(model), tmp_path / model)).record
        assert (record.labels, record.model["labels"]) == (("cold", "warm"), 2)
        assert len(record.metrics.classes) == 2


def test_the_same_labels_in_another_order_get_a_new_head(runs, lists, tmp_path, run_command):
    arguments = ("--labels", "positive,negative,neutral", "--output", "run", "--epochs", 1)
    result = run_command(
        "mmsent", "train", "--from", runs("light"), "--data", lists / "more.csv", *arguments,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert read_run(tmp_path / "run").record.origin.new_head


@pytest.mark.parametrize("model", ["light", "toy"])
def test_validation_pairs_stay_validation_pairs(runs, lists, pairs, tmp_path, model):
    """No training pair of the run is among them; all others are new."""
    run = runs(model)
    after = go_on(lists / "more.csv", run, tmp_path / "run")
    old, new = set(validated(run)), set(validated(after))
    known = {pair.guid for pair in pairs[:FEW]}
    assert old <= new
    assert new & known == old
    record = read_run(after).record
    assert record.origin.held_out == len(old)
    assert record.dataset.train_pairs == MORE - len(new)


def test_with_a_validation_list_they_are_left_out(runs, lists, write, pairs, tmp_path, caplog):
    caplog.set_level("INFO", logger="mmsent_training")
    run, own = runs("light"), write("own.csv", pairs[MORE:])
    after = go_on(lists / "more.csv", run, tmp_path / "run", validation=own)
    count = len(validated(run))
    record = read_run(after).record
    assert record.origin.held_out == count
    assert record.dataset.train_pairs == MORE - count
    assert set(validated(after)) == {pair.guid for pair in pairs[MORE:]}
    assert f"{count} pairs are left out: {run} validated on them" in caplog.messages
    assert not any("promise too much" in message for message in caplog.messages)


def test_validation_pairs_that_were_trained_on_are_counted(runs, write, pairs, tmp_path, caplog):
    run, old = runs("light"), set(validated(runs("light")))
    seen = [pair for pair in pairs[:FEW] if pair.guid not in old][:9]
    new = write("new.csv", pairs[FEW:])
    own = write("own.csv", [*seen, *(pair for pair in pairs if pair.guid in old)])
    go_on(new, run, tmp_path / "run", validation=own)
    assert any(
        f"{run} was trained on 9 of the {9 + len(old)} pairs to validate on" in message
        for message in caplog.messages
    )


def test_the_same_pairs_again_need_other_validation_pairs(runs, lists, write, pairs, tmp_path):
    run, old = runs("light"), set(validated(runs("light")))
    same = write("same.csv", [pair for pair in pairs[:FEW] if pair.guid not in old])
    with pytest.raises(InputError, match=r"no pairs are left to validate on: .* --validation"):
        go_on(same, run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_digests_include_the_pairs_of_the_run(runs, write, pairs, tmp_path):
    """`mmsent evaluate` also reports these pairs as seen in training."""
    run = runs("light")
    after = go_on(write("new.csv", pairs[FEW:]), run, tmp_path / "run")
    digests = Digests.from_json((after / "digests.json").read_text())
    examples = read_examples(pairs, read_run(run).record.labels)
    left_out = {*validated(run), *validated(after)}
    assert digests.compare(examples, "training") == [
        None if pair.guid in left_out else "pair" for pair in pairs
    ]
    assert [pair.guid for pair, seen in zip(pairs, digests.compare(examples, "validation")) if seen
            ] == [pair.guid for pair in pairs if pair.guid in validated(after)]  # fmt: skip


@pytest.mark.slow
def test_without_digests_nothing_is_claimed(lists, tmp_path, caplog):
    run = begin("light", lists / "few.csv", tmp_path / "first", tmp_path, digests=False)
    after = go_on(lists / "more.csv", run, tmp_path / "run")
    assert any(f"{run} has no digests: it can't be checked" in text for text in caplog.messages)
    assert read_run(after).record.origin.held_out is None
    assert not (after / "digests.json").exists()
    assert read_run(go_on(lists / "more.csv", after, tmp_path / "again")).record.origin


class Killed(BaseException):
    """Simulates a SIGKILL."""


def kill(event):
    if event == Event("saved", 1):
        raise Killed


def test_it_resumes_to_the_same_weights(run_command, runs, lists, tmp_path):
    chosen = {"epochs": 2, "learning_rate": 1e-3}
    whole = go_on(lists / "more.csv", runs("light"), tmp_path / "whole", **chosen)
    with pytest.raises(Killed):
        go_on(lists / "more.csv", runs("light"), tmp_path / "run", kill, **chosen)
    result = run_command("mmsent", "train", "--resume", "run", cwd=tmp_path)
    assert result.code == 0, result.err
    for name in ("checkpoint.safetensors", "validation_predictions.csv", "digests.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()
    record = read_run(tmp_path / "run").record
    assert record.origin == read_run(whole).record.origin


@pytest.mark.slow
def test_resuming_needs_the_same_run(run_command, runs, lists, tmp_path):
    first = shutil.copytree(runs("light"), tmp_path / "first")
    with pytest.raises(Killed):
        go_on(lists / "more.csv", first, tmp_path / "run", kill)
    first.rename(tmp_path / "moved")
    gone = run_command("mmsent", "train", "--resume", "run", cwd=tmp_path)
    assert (gone.code, "is not a finished run" in gone.err) == (2, True)
    other = begin("light", lists / "few.csv", tmp_path / "other", tmp_path, seed=1)
    wrong = run_command("mmsent", "train", "--resume", "run", "--from", other, cwd=tmp_path)
    assert wrong.code == 2
    assert "the pretrained weights have changed" in wrong.err
    right = run_command("mmsent", "train", "--resume", "run", "--from", "moved", cwd=tmp_path)
    assert right.code == 0, right.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "compact"), "--model compact: {run} was trained with light; leave it out"),
        (("--modality", "text"), "--modality text: {run} was trained with both; leave it out"),
        (("--preset", "reference"), "--preset reference: {run} was trained with default"),
        (("--set", "max_length=12"), "--max-length 12: {run} was trained with 128; leave it out"),
        (("--clip", "x"), "--clip: the light model has no such option"),
        (("--freeze",), "--freeze: the light model has no such option"),
        (("--from", "nowhere"), "nowhere is not a finished run: it has no run.json"),
    ],
)
def test_options_that_the_run_determines_are_refused(
    run_command, runs, lists, tmp_path, options, message
):
    run = runs("light")
    arguments = ("--data", lists / "more.csv", "--from", run, *options)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert message.format(run=run) in result.err
    assert not (tmp_path / "runs").exists()


def test_clip_uses_the_runs_checkpoint(run_command, runs, lists, tmp_path):
    arguments = ("--data", lists / "more.csv", "--from", runs("clip"), "--clip", "x")
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert f"--clip: the weights are those of {runs('clip')}; leave it out" in result.err


@pytest.mark.slow
def test_the_pretraining_texts_come_before_the_pairs(run_command, runs, lists, tmp_path):
    arguments = ("--data", lists / "more.csv", "--from", runs("compact"), "--pretraining-texts")
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert "the pretraining texts come before the pairs" in result.err


def test_the_command_trains_for_fewer_epochs_and_says_so(run_command, runs, lists, tmp_path):
    run = runs("light")
    arguments = ("--data", lists / "more.csv", "--from", run, "--output", "run")
    result = run_command("mmsent", "train", *arguments, "--model", "auto", cwd=tmp_path)
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    usual = default_settings("light", "cpu")
    assert 0 < record["settings"]["epochs"] < usual.epochs
    assert replace(usual, epochs=1).batch_size == record["settings"]["batch_size"]
    assert record["origin"]["path"] == str(run)
    assert f"Begins with the weights of {run}" in (tmp_path / "run" / "report.md").read_text()

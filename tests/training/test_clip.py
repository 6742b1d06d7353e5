"""The model clip, compared with transformers' tokenizer, image processor and model."""

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models import clip
from mmsent_training.models.clip import ClipClassifier

from .clip_checkpoint import POSITIONS, SIZE, write_checkpoint
from .tasks import clip_task

# The one that uses Pillow: since transformers 5, the plain name is torchvision's.
PILLOW = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else None
CLIPImageProcessor = getattr(transformers, PILLOW or "CLIPImageProcessor")


@pytest.fixture(scope="module")
def sample(few):
    """The module's data: 27 training pairs and 3 validation pairs."""
    return few


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("clip") / "checkpoint")


@pytest.fixture(scope="module")
def model(checkpoint):
    task = clip_task(checkpoint)
    _, model = clip.create(task, clip.read_inputs(task), [])
    return model.eval()


@pytest.fixture(scope="module")
def pairs(sample):
    rows = list(open_dataset(sample).select(TRAINING).rows())
    texts = [pair.read_text() for pair in rows]
    return [*texts, "", "sad rain " * 50], [image_file(sample, pair.guid) for pair in rows]


def test_ids_are_those_of_transformers(checkpoint, pairs):
    reference = CLIPTokenizerFast.from_pretrained(checkpoint)
    tokenizer = clip.read_inputs(clip_task(checkpoint)).tokenizer
    wanted = reference(pairs[0], truncation=True, max_length=POSITIONS)["input_ids"]
    assert tokenize(tokenizer, pairs[0]) == wanted


def test_a_truncated_text_keeps_its_end_token(checkpoint):
    tokenizer = clip.read_inputs(clip_task(checkpoint)).tokenizer
    (ids,) = tokenize(tokenizer, ["sad rain " * 99])
    assert len(ids) == POSITIONS
    assert ids[-1] == tokenizer.token_to_id("<|endoftext|>")


def test_a_shorter_maximum_length_is_used(checkpoint):
    tokenizer = clip.read_inputs(clip_task(checkpoint, max_length=5)).tokenizer
    assert len(tokenize(tokenizer, ["sad rain " * 99])[0]) == 5


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([SIZE, 224]), st.integers(0, 99))
def test_pixels_are_those_of_transformers(width, height, size, seed):
    """Bit for bit, for any shape: CLIP's preprocessing with Pillow."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    assert_like_transformers(image, size)


@pytest.mark.parametrize(("width", "height"), [(1, 1000), (1000, 1), (3, 3), (1, 1), (225, 224)])
def test_odd_shapes_are_those_of_transformers(width, height):
    ramp = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    assert_like_transformers(Image.fromarray(ramp), 224)


def assert_like_transformers(image: Image.Image, size: int) -> None:
    processor = CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size=size, do_rescale=False, do_normalize=False
    )
    wanted = processor(image, input_data_format="channels_last", return_tensors="np")
    got = load_image(image, ImageSettings(size=size, resize="crop", filter="bicubic"))
    np.testing.assert_array_equal(got.transpose(2, 0, 1), wanted["pixel_values"][0])


def test_an_image_too_narrow_to_scale_is_refused():
    from mmsent import InputError

    image = Image.new("RGB", (1, 5000))
    with pytest.raises(InputError, match="too narrow"):
        load_image(image, ImageSettings(size=224, resize="crop", filter="bicubic"))


def test_embeddings_are_those_of_transformers(checkpoint, model, pairs):
    reference = CLIPModel.from_pretrained(checkpoint).eval()
    processor = CLIPImageProcessor.from_pretrained(checkpoint)
    tokenizer = clip.read_inputs(clip_task(checkpoint)).tokenizer
    texts, images = pairs[0][:-2], pairs[1]
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(tokenizer, texts)))
    opened = [Image.fromarray(load_image(path, PLAIN)) for path in images]
    image = clip.read_inputs(clip_task(checkpoint)).image
    pixels = torch.tensor(np.stack([load_image(i, image) for i in opened]))
    with torch.no_grad():
        values = processor(opened, return_tensors="pt")["pixel_values"]
        wanted = reference(input_ids=ids, attention_mask=mask, pixel_values=values)
        got = model.embed(ids, mask, pixels)
    both = torch.cat([wanted.text_embeds, wanted.image_embeds], dim=1)
    torch.testing.assert_close(got, both, atol=1e-5, rtol=0)


@pytest.mark.parametrize("end", [None, 2], ids=["its end token", "the 2 of old configurations"])
def test_texts_are_pooled_where_transformers_does(checkpoint, end):
    """At the first end token, even if there are several; 2 means the highest id."""
    config = json.loads((checkpoint / "config.json").read_text())
    highest = config["text_config"]["vocab_size"] - 1
    config["text_config"]["eos_token_id"] = end or highest
    torch.manual_seed(0)
    model = ClipClassifier(config, [0.5] * 3, [0.25] * 3, modality="text").eval()
    reference = CLIPModel(CLIPConfig.from_dict(config)).eval()
    reference.load_state_dict(model.clip.state_dict(), strict=False)
    ids = torch.tensor([[0, 5, highest, 7, highest], [0, 2, 6, 8, highest], [0, highest, 1, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    with torch.no_grad():
        hidden = reference.text_model(input_ids=ids, attention_mask=mask)
        wanted = reference.text_projection(hidden.pooler_output)
        got = model.embed(ids, mask, torch.zeros(3, 32, 32, 3, dtype=torch.uint8))
    torch.testing.assert_close(got, torch.nn.functional.normalize(wanted), atol=1e-6, rtol=0)


PLAIN = ImageSettings(size=64, resize="stretch", filter="bilinear")


def test_the_head_is_that_of_the_report(model):
    linear, _, dropout, last = model.head
    assert (linear.in_features, linear.out_features, last.out_features) == (32, 512, 3)
    assert dropout.p == 0.2


@pytest.fixture(scope="module")
def frozen(run_command, sample, checkpoint, tmp_path_factory):
    """A run with frozen CLIP and its own cache: (run, cache, output)."""
    folder = tmp_path_factory.mktemp("frozen")
    result = train(run_command, sample, checkpoint, folder, "run")
    assert result.code == 0, result.err
    return folder / "run", folder / "cache", result.err


def train(run_command, sample, checkpoint, folder, output, *arguments):
    return run_command(
        "mmsent", "train", "--model", "clip", "--clip", checkpoint, "--data", sample,
        "--output", output, *arguments, cwd=folder, env={"MMSENT_CACHE": str(folder / "cache")},
    )  # fmt: skip


def embedded(printed: str) -> int:
    """The number of pairs that training reports as embedded."""
    return sum(int(count) for count in re.findall(r"embedding \(\w+\): (\d+) pairs?", printed))


def test_on_a_cpu_clip_is_frozen(frozen, checkpoint):
    run, _, printed = frozen
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["options"] == {"freeze": True}
    assert record["settings"]["learning_rate"] == 1e-3
    assert "the head of the clip model" in printed
    before, after = (
        load_file(checkpoint / "model.safetensors"),
        load_file(run / "checkpoint.safetensors"),
    )
    for name, value in before.items():
        if name != "logit_scale":
            np.testing.assert_array_equal(after[f"clip.{name}"], value)


def test_every_pair_is_embedded_only_once(run_command, sample, checkpoint, frozen):
    run, _, printed = frozen
    assert embedded(printed) == 30
    again = train(
        run_command, sample, checkpoint, run.parent, "again", "--learning-rate", 1e-2, "--seed", 1
    )
    assert again.code == 0
    assert embedded(again.err) == 0
    assert "27 of 27 pairs are in the cache" in again.err


def test_changed_files_and_other_weights_are_embedded_again(
    run_command, sample, checkpoint, frozen, tmp_path
):
    shutil.copytree(frozen[1], tmp_path / "cache")
    changed = shutil.copytree(sample, tmp_path / "changed")
    rows = list(open_dataset(changed).select(TRAINING).rows())
    Image.new("RGB", (50, 50), "red").save(image_file(changed, rows[0].guid), "PNG")
    assert embedded(train(run_command, changed, checkpoint, tmp_path, "one").err) == 1
    other = write_checkpoint(tmp_path / "other", seed=1)
    assert embedded(train(run_command, sample, other, tmp_path, "two").err) == 30


def test_a_damaged_cache_is_rebuilt(run_command, sample, checkpoint, frozen, tmp_path):
    for path in shutil.copytree(frozen[1], tmp_path / "cache").iterdir():
        os.truncate(path, 100)
    result = train(run_command, sample, checkpoint, tmp_path, "run")
    assert result.code == 0
    assert "is damaged" in result.err
    assert embedded(result.err) == 30


def test_training_works_without_a_writable_cache(run_command, sample, checkpoint, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    result = train(run_command, sample, checkpoint, tmp_path, "run")
    assert result.code == 0
    assert "can't be written" in result.err


@pytest.fixture(scope="module")
def fine_tuned(run_command, sample, checkpoint, tmp_path_factory):
    """A run with fine-tuned CLIP, whose original checkpoint has been deleted."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    copy = shutil.copytree(checkpoint, folder / "checkpoint")
    result = train(run_command, sample, copy, folder, "run", "--no-freeze", "--epochs", 1)
    assert result.code == 0, result.err
    shutil.rmtree(copy)
    return folder / "run"


@pytest.mark.parametrize(
    ("kind", "fresh"),
    [
        ("frozen", False),
        ("fine-tuned", False),
        pytest.param("frozen", True, marks=pytest.mark.slow),
    ],
)
def test_the_bundle_agrees_with_pytorch_without_network_cache_or_checkpoint(
    run_command, request, tmp_path, monkeypatch, kind, fresh
):
    """In a separate process, so that messages of libraries at import are seen."""
    go_offline(monkeypatch)
    made = request.getfixturevalue(kind.replace("-", "_"))
    run = made[0] if kind == "frozen" else made
    alone = {"HF_HUB_OFFLINE": "1", "MMSENT_CACHE": "/none", "HF_HOME": "/none"}
    result = run_command(
        "mmsent-export", "onnx", run, "--output", "model.onnx", cwd=tmp_path, env=alone,
        fresh=fresh,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.err.startswith("predicting with PyTorch:"), "a library speaks, too"
    info = SentimentModel(tmp_path / "model.onnx").info
    assert info.verification["changed_labels"] == 0
    assert info.verification["source"] == "validation pairs"
    assert info.image == ImageSettings(SIZE, "crop", "bicubic")
    assert info.max_length == POSITIONS


def test_fine_tuning_changes_clip(checkpoint, fine_tuned):
    before = load_file(checkpoint / "model.safetensors")["text_projection.weight"]
    after = load_file(fine_tuned / "checkpoint.safetensors")["clip.text_projection.weight"]
    difference = np.abs(after - before).max()
    assert 0 < difference < 1e-2  # with a learning rate of 1e-5, not 1e-3


@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_modality(run_command, sample, checkpoint, tmp_path, modality):
    arguments = ("--modality", modality, "--epochs", 1)
    result = train(run_command, sample, checkpoint, tmp_path, "run", *arguments)
    assert result.code == 0, result.err
    result = run_command("mmsent-export", "onnx", "run", cwd=tmp_path)
    assert result.code == 0, result.err


def test_auto_takes_clip_if_its_weights_are_available(run_command, sample, checkpoint, tmp_path):
    result = run_command(
        "mmsent", "train", "--clip", checkpoint, "--data", sample, "--output", "run",
        "--epochs", 1, cwd=tmp_path, env={"MMSENT_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["name"] == "clip"
    assert record["chosen"] == "The clip model's weights are available"
    assert len(record["weights"]["sha256"]) == 64


def go_offline(monkeypatch):
    """Without a network and with an empty cache; huggingface_hub read its settings at import."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/none")


def test_auto_falls_back_and_says_why(run_command, sample, tmp_path, monkeypatch):
    """Here without compact, which comes before light."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else find(name)
    )
    go_offline(monkeypatch)
    result = run_command(
        "mmsent", "train", "--data", sample, "--output", "run", "--epochs", 1, cwd=tmp_path
    )
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    (what,) = [line for line in lines if line.startswith("FALLBACK to the light model: clip: ")]
    assert "HF_HUB_OFFLINE" in what
    fix = lines[lines.index(what) + 1]
    assert fix.startswith("Run `mmsent download-clip")
    assert fix.endswith("run.json has the details")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["name"] == "light"
    assert "HF_HUB_OFFLINE" in record["chosen"]


def test_a_requested_clip_never_falls_back(run_command, sample, tmp_path, monkeypatch):
    go_offline(monkeypatch)
    arguments = ("--model", "clip", "--data", sample)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 1
    assert "HF_HUB_OFFLINE" in result.err
    assert not (tmp_path / "runs").exists()


def test_an_error_after_loading_causes_no_fallback(run_command, sample, checkpoint, tmp_path):
    """Weights whose shape differs from the config are wrong, not unavailable."""
    spoilt = shutil.copytree(checkpoint, tmp_path / "spoilt")
    weights = load_file(spoilt / "model.safetensors")
    weights["text_projection.weight"] = np.zeros((7, 32), np.float32)
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    result = run_command(
        "mmsent", "train", "--clip", spoilt, "--data", sample, "--output", "run", cwd=tmp_path
    )
    assert result.code == 1
    assert "FALLBACK" not in result.err
    assert "do not fit its config.json" in result.err


def test_freezing_a_model_without_pretrained_parts_is_refused(run_command, sample, tmp_path):
    arguments = ("--model", "light", "--freeze", "--data", sample)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert "--freeze: the light model has no such option" in result.err


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "auto_map"])
@pytest.mark.parametrize("part", ["", "text_config", "vision_config"])
def test_code_named_in_a_configuration_is_not_run(checkpoint, tmp_path, monkeypatch, key, part):
    """transformers would download such a kernel from the hub and run it."""
    asked = []
    monkeypatch.setattr(
        transformers.modeling_utils, "load_and_register_kernel", asked.append, raising=False
    )
    evil = shutil.copytree(checkpoint, tmp_path / "evil")
    config = json.loads((evil / "config.json").read_text())
    (config[part] if part else config)[key] = "evil/kernel:module"
    (evil / "config.json").write_text(json.dumps(config))
    task = clip_task(evil)
    description, _ = clip.create(task, clip.read_inputs(task), [])
    (description["config"][part] if part else description["config"])[key] = "evil/kernel:module"
    clip.build(**description)  # as from a run.json
    assert asked == []

"""Chinese-CLIP and SigLIP, compared with transformers' tokenizers, processors and models."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file
from torch.nn.functional import normalize
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from mmsent import InputError, SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models import clip
from mmsent_training.weights.checkpoint import WeightsUnavailable
from mmsent_training.weights.hub import find_clip

from .clip_checkpoint import SIZE, write_checkpoint
from .relatives_checkpoint import POSITIONS, write_chinese_clip, write_siglip
from .tasks import clip_task

WRITE = {"chinese_clip": write_chinese_clip, "siglip": write_siglip}
PLAIN = ImageSettings(size=64, resize="stretch", filter="bilinear")
TEXTS = ["", "happy day !", "今天天气真好, we LOVE it", "sad rain " * 50, "my street ? report"]


@pytest.fixture(scope="module", params=sorted(WRITE))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def sample(few):
    """The module's training data."""
    return few


@pytest.fixture(scope="module")
def checkpoint(kind, tmp_path_factory) -> Path:
    return WRITE[kind](tmp_path_factory.mktemp(kind) / "checkpoint")


@pytest.fixture(scope="module")
def model(checkpoint):
    task = clip_task(checkpoint)
    _, model = clip.create(task, clip.read_inputs(task), [])
    return model.eval()


@pytest.fixture(scope="module")
def inputs(checkpoint):
    return clip.read_inputs(clip_task(checkpoint))


@pytest.fixture(scope="module")
def images(sample):
    rows = open_dataset(sample).select(TRAINING).rows()
    return [image_file(sample, pair.guid) for pair in rows][: len(TEXTS)]


def reference_tokenizer(kind, checkpoint):
    """SigLIP's class needs sentencepiece's file; its hub folders also have a tokenizer.json."""
    loader = AutoTokenizer if kind == "chinese_clip" else PreTrainedTokenizerFast
    return loader.from_pretrained(checkpoint)


def image_processor(checkpoint, **changes):
    """The one that uses Pillow: since transformers 5, the plain name is torchvision's."""
    name = json.loads((checkpoint / "preprocessor_config.json").read_text())["image_processor_type"]
    name = f"{name}Pil" if hasattr(transformers, f"{name}Pil") else name
    return getattr(transformers, name).from_pretrained(checkpoint, **changes)


def test_ids_are_those_of_transformers(kind, checkpoint, inputs):
    reference = reference_tokenizer(kind, checkpoint)
    wanted = reference(TEXTS, truncation=True, max_length=POSITIONS)["input_ids"]
    assert tokenize(inputs.tokenizer, TEXTS) == wanted
    assert max(map(len, wanted)) == POSITIONS
    assert len({tuple(ids) for ids in wanted}) == len(TEXTS)


@pytest.mark.parametrize("shape", [(50, 90), (90, 50), (SIZE, SIZE), (1, 7)])
def test_pixels_are_those_of_transformers(checkpoint, inputs, shape):
    processor = image_processor(checkpoint, do_rescale=False, do_normalize=False)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    wanted = processor(
        Image.fromarray(pixels), input_data_format="channels_last", return_tensors="np"
    )["pixel_values"][0]
    got = load_image(Image.fromarray(pixels), inputs.image).transpose(2, 0, 1)
    np.testing.assert_array_equal(got, wanted)
    assert inputs.image == ImageSettings(SIZE, "stretch", "bicubic")


def test_embeddings_are_those_of_transformers(kind, checkpoint, model, inputs, images):
    """With texts padded as transformers' documentation of the model says."""
    reference = AutoModel.from_pretrained(checkpoint).eval()
    processor = image_processor(checkpoint)
    tokenizer = reference_tokenizer(kind, checkpoint)
    padding = "max_length" if kind == "siglip" else True
    texts = tokenizer(
        TEXTS, padding=padding, truncation=True, max_length=POSITIONS, return_tensors="pt"
    )
    opened = [Image.fromarray(load_image(path, PLAIN)) for path in images]
    values = processor(opened, return_tensors="pt")["pixel_values"]
    pixels = torch.tensor(np.stack([load_image(image, inputs.image) for image in opened]))
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(inputs.tokenizer, TEXTS)))
    with torch.no_grad():
        if kind == "siglip":
            text = features(reference.get_text_features(input_ids=texts["input_ids"]))
            assert (texts["input_ids"] == tokenizer.pad_token_id).any(dim=1).sum() > 3
        else:  # get_text_features fails in transformers 4.57: it looks for a pooler
            text = reference(**texts, pixel_values=values).text_embeds
        wanted = torch.cat(
            [normalize(text), normalize(features(reference.get_image_features(values)))], dim=1
        )
        got = model.embed(ids, mask, pixels)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def features(found):
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def test_an_embedding_depends_only_on_the_pair(model, inputs, images):
    """Not on its batch, other pairs or padding."""
    found = tokenize(inputs.tokenizer, TEXTS)
    ids, mask = map(torch.from_numpy, pad_ids(found))
    pixels = torch.tensor(np.stack([load_image(path, inputs.image) for path in images]))
    with torch.no_grad():
        together = model.embed(ids, mask, pixels)
        for row, alone in enumerate(found):
            one = torch.tensor([alone])
            got = model.embed(one, torch.ones_like(one), pixels[row : row + 1])[0]
            torch.testing.assert_close(got, together[row], atol=2e-6, rtol=0)
        # Ids under a mask of 0 have no effect.
        got = model.embed(ids.where(mask == 1, torch.tensor(7)), mask, pixels)
    assert torch.equal(got, together)


def train(run_command, sample, checkpoint, folder, *arguments):
    result = run_command(
        "mmsent", "train", "--model", "clip", "--clip", checkpoint, "--data", sample,
        "--output", "run", "--epochs", 1, *arguments, cwd=folder,
        env={"MMSENT_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert result.code == 0, result.err


@pytest.fixture(scope="module")
def frozen(run_command, sample, checkpoint, tmp_path_factory):
    """A run with frozen towers, whose original checkpoint has been deleted."""
    return train_and_remove(run_command, sample, checkpoint, tmp_path_factory.mktemp("frozen"))


def train_and_remove(run_command, sample, checkpoint, folder, *arguments):
    copy = shutil.copytree(checkpoint, folder / "checkpoint")
    train(run_command, sample, copy, folder, *arguments)
    shutil.rmtree(copy)
    return folder / "run"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        pytest.param(("--no-freeze",), marks=pytest.mark.slow),
        ("--modality", "text"),
        pytest.param(("--modality", "image"), marks=pytest.mark.slow),
    ],
    ids=["frozen", "fine-tuned", "text", "image"],
)
def test_from_training_to_a_bundle(run_command, sample, checkpoint, frozen, tmp_path, arguments):
    run = frozen
    if arguments:
        run = train_and_remove(run_command, sample, checkpoint, tmp_path, *arguments)
    before = load_file(checkpoint / "model.safetensors")
    after = load_file(run / "checkpoint.safetensors")
    shared = [name for name in before if f"clip.{name}" in after and not name.startswith("logit_")]
    changed = [n for n in shared if not np.array_equal(before[n], after[f"clip.{n}"])]
    assert bool(changed) == ("--no-freeze" in arguments)
    one = arguments[1] if "--modality" in arguments else None
    towers = {name.split("_")[0] for name in shared}
    assert ("text" in towers, "vision" in towers) == (one != "image", one != "text")
    result = run_command("mmsent-export", "onnx", run, "--output", "m.onnx", cwd=tmp_path)
    assert result.code == 0, result.err
    found = SentimentModel(tmp_path / "m.onnx")
    assert found.info.verification["changed_labels"] == 0
    assert found.info.image == ImageSettings(SIZE, "stretch", "bicubic")
    assert found.info.max_length == POSITIONS
    rows = list(open_dataset(sample).select(TRAINING).rows())[:6]
    pairs = [(pair.read_text(), image_file(sample, pair.guid)) for pair in rows]
    pairs.append((TEXTS[3], pairs[0][1]))  # the maximum length
    together = found.predict(*map(list, zip(*pairs)))
    for pair, wanted in zip(pairs, together):
        alone = found.predict(*pair)
        assert alone.label == wanted.label
        assert alone.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)


@pytest.mark.parametrize("precision", [pytest.param("fp16", marks=pytest.mark.slow), "int8"])
def test_a_smaller_bundle(run_command, frozen, tmp_path, precision):
    result = run_command("mmsent-export", "onnx", frozen, "--precision", precision, cwd=tmp_path)
    assert result.code == 0, result.err


# Checkpoints that can't be trained


def test_other_dual_encoders_are_refused_by_name(run_command, sample, tmp_path):
    folder = write_checkpoint(tmp_path / "mine")
    for model_type in ("blip", "siglip2", "altclip", "clip_text_model"):
        change(folder / "config.json", model_type=model_type)
        wanted = f"mine is a {model_type} checkpoint; mmsent trains clip, chinese_clip, siglip"
        with pytest.raises(InputError, match=wanted):
            find_clip(str(folder))
    result = run_command("mmsent", "train", "--clip", folder, "--data", sample, cwd=tmp_path)
    assert result.code == 2, "not a fallback to another model"
    assert "clip_text_model checkpoint" in result.err


@pytest.mark.parametrize("write", [write_siglip, write_chinese_clip])
def test_a_tokenizer_that_is_missing(write, tmp_path):
    folder = write(tmp_path / "mine")
    for name in ("tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    missing = "tokenizer_config.json" if write is write_siglip else "tokenizer.json"
    with pytest.raises(WeightsUnavailable, match=f"it lacks {missing}"):
        find_clip(str(folder))


def test_a_padding_token_that_the_tokenizer_lacks(tmp_path):
    folder = write_siglip(tmp_path / "mine")
    change(folder / "tokenizer_config.json", pad_token="<pad>")
    with pytest.raises(InputError, match=r"the pad_token '<pad>' is not in .*tokenizer.json"):
        clip.read_inputs(clip_task(folder))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": {"height": SIZE, "width": 2 * SIZE}}, f"squares of {SIZE} pixels"),
        ({"size": {"height": 64, "width": 64}}, f"squares of {SIZE} pixels"),
        ({"size": {"shortest_edge": SIZE}}, "images keep their shape"),
        ({"do_normalize": False}, "do_normalize is off"),
        ({"rescale_factor": 1 / 127.5}, "the scale is not 0 to 1"),
        ({"resample": 1}, "no 1"),
        ({"size": None}, "preprocessing"),
    ],
)
def test_other_preprocessing_is_refused(tmp_path, changes, reason):
    folder = write_chinese_clip(tmp_path / "mine")
    change(folder / "preprocessor_config.json", **changes)
    with pytest.raises(InputError, match=f"preprocessor_config.json asks for .*{reason}"):
        clip.read_inputs(clip_task(folder))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

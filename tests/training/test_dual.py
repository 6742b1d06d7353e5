"""dual's encoders, compared with transformers and timm, from training to the bundle."""

import json
import pickle
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
    ViTModel,
)

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file
from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models import compact, dual, pretraining
from mmsent_training.models.registry import default_settings
from mmsent_training.optim import make_optimizer
from mmsent_training.weights.checkpoint import WeightsUnavailable
from mmsent_training.weights.encoders import find_encoders
from mmsent_training.weights.packages import IMAGE_PACKAGE, TEXT_PACKAGE

from .clip_checkpoint import write_checkpoint
from .encoder_folders import IMAGE, POSITIONS, SIZE, TEXT, write_bert
from .tasks import make_task
from .test_clip import go_offline

TEXTS = ["", "happy day !", "今天天气真好, we LOVE it", "sad rain " * 50, "my street ? report"]
PAIRS = [*zip([*TEXT, "bert"], IMAGE)]
DEPTHS = [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param("all", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def sample(few):
    """The module's training data."""
    return few


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The folder of each encoder, by name."""
    root = tmp_path_factory.mktemp("encoders")
    return {name: write(root / name) for name, write in (TEXT | IMAGE).items()}


def dual_task(text, image, **options):
    settings = {name: options.pop(name) for name in ("modality", "max_length") if name in options}
    weights = find_encoders(str(text), str(image))
    return make_task("dual", weights, options=options, **settings)


def created(task):
    torch.manual_seed(0)
    inputs = dual.read_inputs(task)
    description, model = dual.create(task, inputs, [])
    return inputs, description, model.eval()


def depths(number):
    return {"train_text_layers": number, "train_image_blocks": number}


def some_inputs(tokenizer):
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(tokenizer, TEXTS)))
    generator = torch.Generator().manual_seed(0)
    shape = (len(TEXTS), SIZE, SIZE, 3)
    return ids, mask, torch.randint(256, shape, dtype=torch.uint8, generator=generator)


# The encoders


@pytest.mark.parametrize("name", sorted(TEXT))
def test_ids_are_those_of_transformers(folders, name):
    inputs, _, _ = created(dual_task(folders[name], folders["vit"]))
    has_file = (folders[name] / "tokenizer.json").is_file()
    loader = PreTrainedTokenizerFast if has_file else AutoTokenizer
    reference = loader.from_pretrained(folders[name])
    wanted = reference(TEXTS, truncation=True, max_length=POSITIONS)["input_ids"]
    assert tokenize(inputs.tokenizer, TEXTS) == wanted
    assert max(map(len, wanted)) == POSITIONS
    assert len({tuple(ids) for ids in wanted}) == len(TEXTS)


@pytest.mark.parametrize("number", DEPTHS)
@pytest.mark.parametrize("name", sorted(TEXT))
@torch.no_grad()
def test_states_are_those_of_transformers(folders, name, number):
    """Of the complete encoder, wherever it is split, with its own padding token."""
    task = dual_task(folders[name], folders["vit"], modality="text", **depths(number))
    inputs, _, model = created(task)
    ids, mask, _ = some_inputs(inputs.tokenizer)
    reference = AutoModel.from_pretrained(folders[name]).eval()
    padded = ids.masked_fill(mask == 0, reference.config.pad_token_id)
    found = reference(input_ids=padded, attention_mask=mask, output_hidden_states=True)
    layers = reference.config.num_hidden_layers
    seen = {0: [layers], 1: [layers - 1, layers], "all": [layers]}[number]
    if name == "chinese-bert":  # its own file says so
        wanted = [found.hidden_states[layer][:, 0] for layer in seen]
    else:
        rows = [found.hidden_states[layer] * mask.unsqueeze(-1) for layer in seen]
        wanted = [item.sum(1) / mask.sum(1, keepdim=True) for item in rows]
    wanted = torch.nn.functional.layer_norm(torch.cat(wanted, 1), (32 * len(wanted),))
    got = model.head.text_features(model.embed_text(ids, mask), mask)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", DEPTHS)
@pytest.mark.parametrize("name", sorted(IMAGE))
@torch.no_grad()
def test_features_are_those_of_the_library(folders, name, number):
    """Of the complete encoder, wherever it is split, with its own mean and standard deviation.

    The reference computes in float64: some features are in the thousands, others are small.
    """
    task = dual_task(folders["bert"], folders[name], modality="image", **depths(number))
    _, _, model = created(task)
    pixels = torch.randint(256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    config = json.loads((folders[name] / "config.json").read_text())
    if "architecture" in config:
        about = config["pretrained_cfg"]
        weights = folders[name] / "model.safetensors"
        reference = timm.create_model(
            config["architecture"], num_classes=3, checkpoint_path=weights, **config["model_args"]
        )
        reference.reset_classifier(0)
    else:
        about = json.loads((folders[name] / "preprocessor_config.json").read_text())
        about = {"mean": about["image_mean"], "std": about["image_std"]}
        kind = {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}.get(name, AutoModel)
        reference = kind.from_pretrained(folders[name])
    mean, std = (torch.tensor(about[key]).double().view(3, 1, 1) for key in ("mean", "std"))
    scaled = (pixels.permute(0, 3, 1, 2).double() / 255 - mean) / std
    reference = reference.double().eval()
    if "architecture" in config:
        wanted = reference(scaled)
    else:
        output = reference(pixel_values=scaled)
        wanted = output.last_hidden_state[:, 0] if name == "vit" else output.pooler_output
    states = model.embed_image(pixels)
    got = states if number == 0 else model.head.image(states)
    tolerance = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(got.double(), wanted, atol=tolerance, rtol=0)
    assert float(wanted.std(0).max()) > 3e-3, "the images differ"


@pytest.mark.parametrize("number", DEPTHS)
@pytest.mark.parametrize(("text", "image"), PAIRS)
def test_logits_depend_only_on_the_pair(folders, text, image, number):
    """Not on other pairs or padding; and a rebuilt model has the same logits."""
    inputs, description, model = created(dual_task(folders[text], folders[image], **depths(number)))
    ids, mask, pixels = some_inputs(inputs.tokenizer)
    if model.head.standardizes:  # as training does
        with torch.no_grad():
            model.head.set_statistics(model.embed_image(pixels))
    again = dual.build(**json.loads(json.dumps(description))).eval()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        together = model(ids, mask, pixels)
        for row, length in enumerate(mask.sum(1).tolist()):
            one = slice(row, row + 1)
            alone = model(ids[one, :length], mask[one, :length], pixels[one])[0]
            torch.testing.assert_close(alone, together[row], atol=5e-6, rtol=0)
        assert torch.equal(model(ids.where(mask == 1, torch.tensor(2)), mask, pixels), together)
        assert torch.equal(again(ids, mask, pixels), together)
    assert float((together.max(0).values - together.min(0).values).max()) > 0.1


# Training


def train(run_command, sample, text, image, folder, *arguments):
    return run_command(
        "mmsent", "train", "--model", "dual", "--text-encoder", text, "--image-encoder", image,
        "--data", sample, "--output", "run", "--epochs", 1, *arguments, cwd=folder,
        env={"MMSENT_CACHE": str(folder / "cache")},
    )  # fmt: skip


FROZEN = ()
UPPER = ("--train-text-layers", 2, "--train-image-blocks", 1)
WHOLE = (
    "--train-text-layers", "all", "--train-image-blocks", "all", "--set", "augment=true",
    "--set", "layer_decay=0.9",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "image", "arguments"),
    [
        ("bert", "efficientnet", UPPER),
        ("distilbert", "vit", FROZEN),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                ("chinese-bert", "convnext", (*WHOLE, "--gradient-checkpointing")),
                ("mpnet", "clip", WHOLE),
                ("roberta", "siglip", UPPER),
                ("xlm-roberta", "dinov2", (*UPPER, "--set", "augment=true")),
                ("mpnet", "timm-vit", UPPER),
                ("roberta", "vit", ("--modality", "text")),
                ("bert", "convnext", ("--modality", "image")),
            ]
        ),
    ],
)
def test_from_training_to_a_bundle(
    run_command, sample, folders, tmp_path, recwarn, text, image, arguments
):
    """The encoders' folders are deleted before the export."""
    copies = [shutil.copytree(folders[name], tmp_path / name) for name in (text, image)]
    trained = train(run_command, sample, *copies, tmp_path, *arguments)
    assert trained.code == 0, trained.err
    assert "warn" not in trained.err.lower()
    assert "sharded" not in trained.err, "a message of transformers"
    for copy in copies:
        shutil.rmtree(copy)
    result = run_command("mmsent-export", "onnx", "run", "--output", "m.onnx", cwd=tmp_path)
    assert result.code == 0, result.err
    found = SentimentModel(tmp_path / "m.onnx")
    assert found.info.verification["changed_labels"] == 0
    assert found.info.max_length == POSITIONS
    rows = [*open_dataset(sample).select(TRAINING).rows()][:6]
    pairs = [(pair.read_text(), image_file(sample, pair.guid)) for pair in rows]
    pairs.append((TEXTS[3], pairs[0][1]))  # the maximum length
    for pair, wanted in zip(pairs, found.predict(*map(list, zip(*pairs)))):
        alone = found.predict(*pair)
        assert alone.label == wanted.label
        assert alone.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
    assert not [str(each.message) for each in recwarn if "mmsent" in str(each.filename)]


@pytest.fixture(scope="module")
def run(run_command, sample, folders, tmp_path_factory):
    """A run that trained the upper half of the text encoder."""
    folder = tmp_path_factory.mktemp("run")
    result = train(run_command, sample, folders["bert"], folders["vit"], folder)
    assert result.code == 0, result.err
    return folder / "run"


def test_frozen_layers_do_not_change(folders, run):
    before, after = (
        load_file(path)
        for path in (folders["bert"] / "model.safetensors", run / "checkpoint.safetensors")
    )
    name = "encoder.layer.{}.attention.self.query.weight"
    assert np.array_equal(before[name.format(1)], after[f"text.{name.format(1)}"])
    changed = np.abs(before[name.format(2)] - after[f"head.text.{name.format(0)}"]).max()
    assert 0 < changed < 1e-2


def test_the_run_records_both_encoders(folders, run):
    record = json.loads((run / "run.json").read_text())
    weights = find_encoders(str(folders["bert"]), str(folders["vit"]))
    assert record["weights"] == {
        "name": f"{folders['bert']} and {folders['vit']}",
        "revision": None,
        "sha256": weights.sha256,
    }


@pytest.mark.parametrize("precision", [pytest.param("fp16", marks=pytest.mark.slow), "int8"])
def test_a_smaller_bundle(run_command, run, tmp_path, precision):
    result = run_command("mmsent-export", "onnx", run, "--precision", precision, cwd=tmp_path)
    assert result.code == 0, result.err


def test_batch_norms_keep_their_statistics(run_command, sample, folders, tmp_path):
    """Also in trained stages: small batches would degrade them."""
    names = folders["bert"], folders["efficientnet"]
    result = train(run_command, sample, *names, tmp_path, *WHOLE)
    assert result.code == 0, result.err
    before = load_file(folders["efficientnet"] / "model.safetensors")
    after = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert np.array_equal(before["bn1.running_mean"], after["head.image.encoder.bn1.running_mean"])
    assert not np.array_equal(
        before["conv_stem.weight"], after["head.image.encoder.conv_stem.weight"]
    )


@pytest.mark.filterwarnings("ignore:.torch.cpu.amp.autocast")  # torch 2.4's own
def test_checkpointed_gradients_are_the_same(folders):
    """They need less memory and use the same random numbers."""
    gradients = []
    for checkpointing in (False, True):
        _, _, model = created(dual_task(folders["bert"], folders["vit"], **depths("all")))
        if checkpointing:
            model.checkpoint_gradients()
        model.train()
        torch.manual_seed(0)
        ids = torch.tensor([[2, 7, 8, 3]])
        pixels = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        model(ids, torch.ones_like(ids), pixels).sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 50
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("text", "image"), PAIRS)
def test_lower_layers_learn_more_slowly(folders, text, image):
    """By one factor of the decay per layer above, in every family."""
    _, _, model = created(dual_task(folders[text], folders[image], **depths("all")))
    settings = default_settings("dual", "cpu", layer_decay=0.5, encoder_learning_rate=1.0)
    depths_ = model.head.depths()
    optimizer = make_optimizer(model.head, settings, tuple(depths_), depths_)
    names = {id(parameter): name for name, parameter in model.head.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    embeddings = [rate for name, rate in rates.items() if name.startswith("text.embeddings.")]
    assert {*embeddings} == {0.5**4}
    layers = [rates[name] for name in rates if ".layer." in name and name.startswith("text.")]
    assert {*layers} == {1.0, 0.5, 0.25, 0.125}
    blocks = len(model.head.image.blocks)
    start = {
        rate
        for name, rate in rates.items()
        if name.startswith("image.encoder.") and ".head." not in name
    }
    assert start == {0.5**blocks}
    assert rates["image_projection.1.weight"] == settings.learning_rate


# Weights


def test_weights_in_several_files(folders, tmp_path):
    """Of transformers and timm, listed in an index."""
    for name in ("bert", "convnext"):
        folder = shutil.copytree(folders[name], tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        files = {
            f"model-0000{part}-of-00002.safetensors": [*tensors][part - 1 :: 2] for part in (1, 2)
        }
        for file, names in files.items():
            save_file({key: tensors[key] for key in names}, folder / file, {"format": "pt"})
        index = {key: file for file, names in files.items() for key in names}
        about = {"metadata": {}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(about))
    _, _, whole = created(dual_task(folders["bert"], folders["convnext"]))
    _, _, parts = created(dual_task(tmp_path / "bert", tmp_path / "convnext"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_package_with_a_checkpoint_is_a_folder(tmp_path):
    write_bert(tmp_path / "package" / "model")
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit")
    image = IMAGE["vit"](tmp_path / "image")
    found = find_encoders(str(tmp_path / "package"), str(image))
    assert found.text.folder == tmp_path / "package" / "model"


def test_the_image_tower_of_a_clip(tmp_path, folders):
    clip = write_checkpoint(tmp_path / "clip")
    _, description, model = created(dual_task(folders["bert"], clip))
    assert description["image"]["model_type"] == "clip_vision_model"
    released = load_file(clip / "model.safetensors")
    value = model.state_dict()["image.blocks.0.mlp.fc1.weight"].numpy()
    assert np.array_equal(value, released["vision_model.encoder.layers.0.mlp.fc1.weight"])


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("kind", "weights"), [("bert", "pytorch_model.bin"), ("efficientnet", "model.pth")]
)
def test_a_pickle_is_never_loaded(run_command, sample, folders, tmp_path, kind, weights):
    folder = shutil.copytree(folders[kind], tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / weights).write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    names = (folder, folders["vit"]) if kind in TEXT else (folders["bert"], folder)
    result = train(run_command, sample, *names, tmp_path)
    assert result.code == 1
    assert f"it lacks model.safetensors, and {weights} is a pickle, which is never" in result.err
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lacking", "names"),
    [
        ("--text-encoder and --image-encoder", ()),
        ("--image-encoder", ("--text-encoder", "bert")),
    ],
)
def test_both_encoders_must_be_named(run_command, sample, tmp_path, lacking, names):
    arguments = ("--model", "dual", *names, "--data", sample)
    result = run_command("mmsent", "train", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert f"--model dual requires {lacking}, each" in result.err


def test_a_name_without_a_network(run_command, sample, folders, tmp_path, monkeypatch):
    go_offline(monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    result = train(run_command, sample, "me/my-encoder", folders["vit"], tmp_path)
    assert result.code == 1
    assert "hf download me/my-encoder --local-dir DIR" in result.err
    assert "use --text-encoder DIR" in result.err


WHOLE_IMAGE = {"size": {"shortest_edge": SIZE}, "do_center_crop": False}


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_other_types_are_refused_by_name(folders, tmp_path):
    text = shutil.copytree(folders["bert"], tmp_path / "text")
    change(text / "config.json", model_type="gpt2", auto_map={"AutoModel": "evil.Evil"})
    with pytest.raises(InputError, match="text is a gpt2 checkpoint; mmsent trains bert, "):
        find_encoders(str(text), str(folders["vit"]))
    image = shutil.copytree(folders["efficientnet"], tmp_path / "image")
    change(image / "config.json", architecture="resnet18")
    with pytest.raises(InputError, match="resnet18 is a ResNet; of timm, mmsent trains Eff"):
        created(dual_task(folders["bert"], image))
    change(image / "config.json", architecture="evil")
    with pytest.raises(InputError, match="no architecture 'evil'"):
        created(dual_task(folders["bert"], image))


@pytest.mark.parametrize(
    ("name", "file", "changes", "reason"),
    [
        ("vit", "preprocessor_config.json", {"size": {"height": 8, "width": 9}}, "squares"),
        ("vit", "preprocessor_config.json", {"size": {"height": 8, "width": 8}}, "of 32 pixels"),
        ("vit", "preprocessor_config.json", WHOLE_IMAGE, "keep their shape"),
        ("clip", "preprocessor_config.json", {"do_normalize": False}, "do_normalize is off"),
        ("clip", "preprocessor_config.json", {"resample": 1}, "no 1"),
        ("vit", "preprocessor_config.json", {"rescale_factor": 1 / 127.5}, "the scale is not 0"),
        ("convnext", "config.json", {"pretrained_cfg": {"input_size": [1, SIZE, SIZE]}}, "RGB"),
        ("convnext", "config.json", {"pretrained_cfg": {"mean": [0.5]}}, "no 'input_size'"),
        ("vit", "preprocessor_config.json", {"image_std": [0, 0, 0]}, "is not positive"),
        ("clip", "preprocessor_config.json", {"image_mean": "abc"}, "must be real number"),
        ("clip", "preprocessor_config.json", {"image_mean": [0.5, 0.5]}, "of three channels"),
    ],
)  # fmt: skip
def test_other_preprocessing_is_refused(folders, tmp_path, name, file, changes, reason):
    folder = shutil.copytree(folders[name], tmp_path / "mine")
    change(folder / file, **changes)
    with pytest.raises(InputError, match=f"{file} asks for .*{reason}"):
        dual.read_inputs(dual_task(folders["bert"], folder))


def test_preprocessing_is_the_encoders(folders):
    wanted = {
        "efficientnet": ImageSettings(SIZE, "stretch", "bicubic"),
        "convnext": ImageSettings(SIZE, "crop", "bicubic"),
        "vit": ImageSettings(SIZE, "stretch", "bicubic"),
        "clip": ImageSettings(SIZE, "crop", "bicubic"),
    }
    for name, settings in wanted.items():
        assert dual.read_inputs(dual_task(folders["bert"], folders[name])).image == settings


def test_too_many_layers(run_command, sample, folders, tmp_path):
    names = folders["bert"], folders["vit"]
    result = train(run_command, sample, *names, tmp_path, "--train-text-layers", 5)
    assert result.code == 2
    assert "--train-text-layers 5: the encoder has 4; or say all" in result.err
    result = train(run_command, sample, *names, tmp_path, "--train-text-layers", "some")
    assert result.code == 2
    assert "'some' is neither a number of layers nor all" in result.err


def test_a_tokenizer_of_another_encoder(folders, tmp_path):
    folder = shutil.copytree(folders["mpnet"], tmp_path / "mine")
    shutil.copy(folders["roberta"] / "tokenizer.json", folder)
    with pytest.raises(InputError, match=r"the tokenizer has ids up to \d+, and the encoder only"):
        dual.read_inputs(dual_task(folder, folders["vit"]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "tokenizer.json is not a tokenizer: Model missing"),
        ({"post_processor": None}, "the tokenizer adds no token to a text"),
        ({"added_tokens": [{
            "id": 999, "content": "[X]", "special": True, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False,
        }]}, "the tokenizer has ids up to"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_can_not_be_used(folders, tmp_path, content, reason):
    folder = shutil.copytree(folders["distilbert"], tmp_path / "mine")
    if isinstance(content, str):
        (folder / "tokenizer.json").write_text(content)
    else:
        change(folder / "tokenizer.json", **content)
    with pytest.raises(InputError, match=reason):
        dual.read_inputs(dual_task(folder, folders["vit"]))


@pytest.mark.parametrize("made", ["FooTokenizer", "BertJapaneseTokenizer"])
def test_a_vocabulary_of_which_no_tokenizer_is_made(folders, tmp_path, made):
    folder = shutil.copytree(folders["bert"], tmp_path / "mine")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": made, "word_tokenizer_type": "basic"})
    )
    with pytest.raises(InputError, match="makes no fast tokenizer of the vocabulary in"):
        dual.read_inputs(dual_task(folder, folders["vit"]))


def test_a_maximum_without_room_for_words(folders):
    task = dual_task(folders["roberta"], folders["vit"], max_length=2)
    with pytest.raises(InputError, match="a maximum of 2 leaves none for words; see --set max_l"):
        dual.read_inputs(task)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("bert", {"num_attention_heads": 3}, "not a multiple of the number of attention heads"),
        ("roberta", {"pad_token_id": None}, "it has no pad_token_id"),
        ("vit", {"num_channels": 1}, "Expected 1 but got 3"),
        ("efficientnet", {"model_args": {"unknown": 1}}, "unexpected keyword argument 'unknown'"),
        ("efficientnet", {"model_args": [1]}, "no attribute 'items'"),
        ("efficientnet", {"model_args": {"global_pool": ""}}, "not 256 features"),
        ("timm-vit", {"model_args": {"img_size": 2 * SIZE}}, "images of 64 x 64 pixels, not of 32"),
    ],
)
def test_a_configuration_that_can_not_be_used(folders, tmp_path, name, changes, reason):
    folder = shutil.copytree(folders[name], tmp_path / "mine")
    change(folder / "config.json", **changes)
    names = (folder, folders["vit"]) if name in TEXT else (folders["bert"], folder)
    with pytest.raises(InputError, match=f"mine/config.json describes an encoder .*{reason}"):
        dual.read_inputs(dual_task(*names))


def test_a_configuration_names_no_file_to_load(folders, tmp_path):
    """timm would load "checkpoint_path", a pickle, after it has made the network."""
    folder = shutil.copytree(folders["efficientnet"], tmp_path / "mine")
    pickled = tmp_path / "evil.pth"
    pickled.write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    arguments = {"checkpoint_path": str(pickled), "num_classes": 7, "pretrained": True}
    change(folder / "config.json", model_args=arguments)
    _, description, model = created(dual_task(folders["bert"], folder))
    _, same, wanted = created(dual_task(folders["bert"], folders["efficientnet"]))
    assert description == same
    assert torch.equal(model.image.encoder.conv_stem.weight, wanted.image.encoder.conv_stem.weight)
    for name, value in arguments.items():  # a stranger's run
        description["image"]["arguments"][name] = value
    dual.build(**description)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_trained_in_fp32(folders, tmp_path, dtype):
    for name, kind in (("bert", BertModel), ("vit", ViTModel)):
        kind.from_pretrained(folders[name]).to(dtype).save_pretrained(tmp_path / name)
        for file in folders[name].iterdir():
            if not (tmp_path / name / file.name).exists():
                shutil.copy(file, tmp_path / name)
    _, description, model = created(dual_task(tmp_path / "bert", tmp_path / "vit"))
    for each in (model, dual.build(**description)):
        assert {value.dtype for value in each.state_dict().values()} == {torch.float32}


def test_weights_without_a_pooler_are_no_reason_to_warn(run_command, sample, folders, tmp_path):
    """Of a masked language model, as RoBERTa's are; in a process of its own, to see stderr."""
    folder = shutil.copytree(folders["bert"], tmp_path / "mine")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    result = run_command(
        "mmsent", "train", "--model", "dual", "--text-encoder", folder, "--image-encoder",
        folders["vit"], "--data", sample, "--output", "run", "--epochs", 1, cwd=tmp_path,
        env={"MMSENT_CACHE": str(tmp_path / "cache")}, fresh=True,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "initialized" not in result.err


def test_weights_of_another_shape(folders, tmp_path):
    folder = shutil.copytree(folders["bert"], tmp_path / "mine")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailable, match="is damaged"):
        find_encoders(str(folder), str(folders["vit"]))


# Rated texts


def test_the_text_encoder_is_trained_on_rated_texts_first(
    run_command, sample, folders, tmp_path, monkeypatch
):
    """Only with the option, since the texts are English."""
    lines = pretraining.FILE.read_text(encoding="utf-8").splitlines(keepends=True)[:33]
    (tmp_path / "texts.tsv").write_text("".join(lines), encoding="utf-8")
    monkeypatch.setattr(pretraining, "FILE", tmp_path / "texts.tsv")
    names = folders["roberta"], folders["vit"]
    result = train(run_command, sample, *names, tmp_path, "--pretraining-texts")
    assert result.code == 0, result.err
    assert "pretraining: 32 texts" in result.err
    (tmp_path / "image").mkdir()
    arguments = ("--pretraining-texts", "--train-text-layers", 0)
    result = train(run_command, sample, *names, tmp_path / "image", *arguments)
    assert result.code == 2
    assert "--pretraining-texts: no text layers are trained" in result.err


@pytest.mark.slow
def test_with_compacts_encoders_it_is_compact():
    """With the packages that compact uses, named explicitly."""
    task = make_task("compact", compact.find_weights({}))
    names = (
        find_spec(name).submodule_search_locations[0] for name in (TEXT_PACKAGE, IMAGE_PACKAGE)
    )
    inputs, description, model = created(dual_task(*names))
    wanted = compact.read_inputs(task)
    torch.manual_seed(0)
    wanted_description, wanted_model = compact.create(task, wanted, [])
    assert description == wanted_description
    assert model.state_dict().keys() == wanted_model.state_dict().keys()
    for name, tensor in wanted_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert inputs.image == wanted.image
    assert inputs.tokenizer.to_str() == wanted.tokenizer.to_str()

"""dual's encoders from a local hub."""

import json
from pathlib import Path

import pytest

from .hub import COMMIT, safetensors, write

FIND = """
import json, sys
from mmsent.cli import run
from mmsent_training.weights.encoders import find_encoders
def find():
    found = find_encoders(*sys.argv[1:])
    print(json.dumps([found.name, found.revision, str(found.text.folder), str(found.image.folder)]))
run(find)
"""
TOKENIZER = {"tokenizer.json": b'{"version": "1.0"}'}
VOCABULARY = {"vocab.txt": b"[PAD]\n", "tokenizer_config.json": b"{}"}
BPE = {"vocab.json": b"{}", "merges.txt": b"#version: 0.2\n"}
PICKLE = {"pytorch_model.bin": b"\x80\x02."}
WEIGHTS = {"model.safetensors": safetensors(1000)}


def config(**values):
    return {"config.json": json.dumps(values).encode()}


TEXT = config(model_type="roberta") | WEIGHTS
TIMM = config(architecture="convnext_tiny") | WEIGHTS
VIT = config(model_type="vit") | {"preprocessor_config.json": b"{}"} | WEIGHTS


@pytest.mark.parametrize("vocabulary", [TOKENIZER, VOCABULARY, BPE])
def test_a_text_encoder(make_hub, start, tmp_path, vocabulary):
    """Its commit is recorded, and the second use needs no network."""
    image = write(tmp_path / "image", VIT)
    files = TEXT | vocabulary
    hub = make_hub(files | PICKLE, name="acme/roberta")
    name, revision, text, folder = start(hub, FIND, "acme/roberta", str(image)).wait().found
    assert (name, revision) == (f"acme/roberta and {image}", f"{COMMIT} and a folder")
    assert folder == str(image)
    for file, content in files.items():
        assert Path(text, file).read_bytes() == content
    assert not any("pytorch_model" in path for _, path in hub.requests)
    again = start("http://127.0.0.1:9", FIND, "acme/roberta", str(image), HF_HUB_OFFLINE="1")
    assert again.wait().found[2] == text


@pytest.mark.parametrize("files", [TIMM, VIT])
def test_an_image_encoder(make_hub, start, tmp_path, files):
    text = write(tmp_path / "text", TEXT | TOKENIZER)
    hub = make_hub(files | PICKLE, name="acme/image")
    found = start(hub, FIND, str(text), "acme/image").wait().found
    assert found[1] == f"a folder and {COMMIT}"
    for file, content in files.items():
        assert Path(found[3], file).read_bytes() == content
    assert not any("pytorch_model" in path for _, path in hub.requests)


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("model.safetensors", "has no model.safetensors of acme/roberta, and a pickle is never"),
        ("tokenizer.json", "has no tokenizer.json of acme/roberta"),
    ],
)
def test_a_hub_without_a_file(make_hub, start, tmp_path, lacking, message):
    image = write(tmp_path / "image", VIT)
    files = {name: body for name, body in (TEXT | TOKENIZER).items() if name != lacking}
    hub = make_hub(files | PICKLE, name="acme/roberta")
    result = start(hub, FIND, "acme/roberta", str(image)).wait()
    assert result.code == 1
    assert message in result.err
    assert "Name another --text-encoder" in result.err
    assert "--clip" not in result.err


def test_an_encoder_of_another_type(make_hub, start, tmp_path):
    """It is refused before its weights are downloaded."""
    image = write(tmp_path / "image", VIT)
    hub = make_hub(config(model_type="gpt2") | TOKENIZER | WEIGHTS, name="acme/gpt")
    result = start(hub, FIND, "acme/gpt", str(image)).wait()
    assert result.code == 2
    assert "acme/gpt is a gpt2 checkpoint; mmsent trains bert, " in result.err
    assert not any("safetensors" in path for _, path in hub.requests)

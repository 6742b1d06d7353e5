"""`mmsent-export onnx`: the bundle, its verification, and what it refuses."""

import copy
import json
import shutil
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from mmsent import SentimentModel
from mmsent.bundle.seal import is_whole
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.data.labels import SENTIMENTS
from mmsent.inputs.image import ImageSettings
from mmsent_training.models.light import LightModel
from mmsent_training.runs.record import FORMAT


def export(run_command, *arguments, cwd):
    return run_command("mmsent-export", "onnx", *arguments, cwd=cwd)


@pytest.mark.slow
def test_libraries_print_nothing(run_command, trained, tmp_path):
    result = run_command("mmsent-export", "onnx", trained, cwd=tmp_path, fresh=True)
    assert result.code == 0, result.err
    assert result.err.startswith("predicting with PyTorch:")


def test_inputs_and_outputs_are_as_documented(bundle):
    session = ort.InferenceSession(bundle)
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    assert inputs == {
        "input_ids": ("tensor(int64)", ["batch", "tokens"]),
        "attention_mask": ("tensor(int64)", ["batch", "tokens"]),
        "pixels": ("tensor(uint8)", ["batch", 112, 112, 3]),
    }
    outputs = {o.name: (o.type, o.shape) for o in session.get_outputs()}
    assert outputs == {
        "logits": ("tensor(float)", ["batch", 3]),
        "probabilities": ("tensor(float)", ["batch", 3]),
    }


def test_only_standard_onnx_operators(bundle):
    graph = onnx.load(bundle)
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]


@pytest.mark.parametrize("place", [10, 0.3, 0.9, -10])
def test_one_changed_bit_breaks_the_seal(bundle, tmp_path, place):
    content = bytearray(bundle.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    (tmp_path / "altered.onnx").write_bytes(content)
    assert is_whole(bundle)
    assert not is_whole(tmp_path / "altered.onnx")


def test_the_bundle_describes_itself(bundle, trained):
    info = SentimentModel(bundle).info
    record = json.loads((trained / "run.json").read_text())
    assert info.model == "light"
    assert info.labels == SENTIMENTS
    assert info.image == ImageSettings(112, "stretch", "bilinear")
    assert info.max_length == 128
    assert info.metrics == record["metrics"]
    assert info.provenance["settings"] == record["settings"]
    assert info.provenance["dataset"]["fingerprint"] == record["dataset"]["fingerprint"]
    assert info.provenance["environment"]["libraries"]["pillow"] == version("pillow")
    assert str(trained.parent) not in str(info)  # a bundle does not reveal where it was made
    assert info.verification["pairs"] == 8
    assert info.verification["changed_labels"] == 0
    assert info.verification["source"] == "validation pairs"


def test_the_bundle_agrees_with_pytorch(bundle, trained, sample):
    """PyTorch runs here without any of the exporter's code."""
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    record = json.loads((trained / "run.json").read_text())
    arguments = {key: value for key, value in record["model"].items() if key != "name"}
    assert arguments["vocabulary"] == tokenizer.get_vocab_size()
    model = LightModel(**arguments)
    weights = load_file(trained / "checkpoint.safetensors")
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    model.eval()
    served = SentimentModel(bundle)
    for pair in open_dataset(sample / TEST_LIST).rows():
        text, pixels = pair.read_text(), pair.load_image(served.info.image)
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            logits = model(ids, torch.ones_like(ids), torch.tensor(pixels[None]))
            logits /= record["calibration"]["temperature"]
        probabilities = served.predict(text, pair.read("image")).probabilities
        wanted = torch.softmax(logits, dim=1)[0].tolist()
        np.testing.assert_allclose(list(probabilities.values()), wanted, atol=1e-5)


def test_a_run_moved_to_another_machine_is_still_exported(run_command, trained, tmp_path):
    """Neither its dataset nor its original folder exists any more."""
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["dataset"]["path"] = "/gone"
    (run / "run.json").write_text(json.dumps(record))
    result = export(run_command, run, cwd=tmp_path)
    assert result.code == 0, result.err
    assert "random inputs" in result.err
    assert SentimentModel(tmp_path / "model.onnx").info.verification["pairs"] == 16


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "run.json", "tokenizer.json", "data"])
def test_no_input_is_replaced(run_command, trained, tmp_path, name):
    run = shutil.copytree(trained, tmp_path / "run")
    output, data = run / name, []
    if name == "data":
        output = tmp_path / "posts.csv"
        output.write_text("guid,text,label\n1,a,negative\n")
        data = ["--data", output]
    before = output.read_bytes()
    result = export(run_command, run, "--output", output, *data, cwd=tmp_path)
    assert result.code == 2
    assert result.err == f"Error: {output} is also an input; name another file\n"
    assert output.read_bytes() == before


def test_a_different_dataset_is_refused(run_command, trained, tmp_path):
    run_command("mmsent", "sample-data", "other", "--pairs", 80, "--seed", 5, cwd=tmp_path)
    result = export(run_command, trained, "--data", "other", cwd=tmp_path)
    assert result.code == 2
    assert "is not the dataset that" in result.err
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_with_other_results_is_refused(trained, tmp_path, monkeypatch):
    """The graph has other weights, which the verification must notice."""
    from mmsent.errors import MmsentError
    from mmsent_export import export as module

    def other_weights(model, **options):
        wrong = copy.deepcopy(model)
        torch.nn.init.normal_(wrong.model.head[-1].weight)
        return module_to_onnx(wrong, **options)

    module_to_onnx = module.to_onnx
    monkeypatch.setattr(module, "to_onnx", other_weights)
    with pytest.raises(MmsentError, match="does not agree with PyTorch"):
        module.export_run(trained, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def spoil_checkpoint(run):
    weights = load_file(run / "checkpoint.safetensors")
    del weights["head.0.weight"]
    save_file(weights, run / "checkpoint.safetensors")


def truncate_checkpoint(run):
    content = (run / "checkpoint.safetensors").read_bytes()
    (run / "checkpoint.safetensors").write_bytes(content[:5000])


def remove_record(run):
    (run / "run.json").unlink()


def spoil_record(run):
    (run / "run.json").write_text("{")


def newer_record(run):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"format": FORMAT + 1}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_checkpoint, "checkpoint.safetensors can't be loaded"),
        (truncate_checkpoint, "checkpoint.safetensors can't be loaded"),
        (remove_record, "is not a finished run"),
        (spoil_record, "is damaged"),
        (newer_record, f"its format is {FORMAT + 1}, but this mmsent reads {FORMAT}"),
    ],
)
def test_a_damaged_run_is_refused(run_command, trained, tmp_path, spoil, message):
    run = shutil.copytree(trained, tmp_path / "run")
    spoil(run)
    result = export(run_command, run, cwd=tmp_path)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "model.onnx").exists()


def test_without_any_run(run_command, tmp_path):
    result = export(run_command, cwd=tmp_path)
    assert result.code == 2
    assert "runs/latest is not a finished run" in result.err

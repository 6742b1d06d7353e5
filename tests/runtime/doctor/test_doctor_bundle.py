"""`--model`: good, damaged and foreign bundles, made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from doctor_machine import Machine
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from mmsent.bundle.info import INFO_KEY, TOKENIZER_KEY, BundleInfo
from mmsent.bundle.seal import SEAL_KEY, UNSEALED, seal
from mmsent.inputs.image import ImageSettings

onnx = pytest.importorskip("onnx")


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """A machine with the real ONNX Runtime."""
    machine.onnxruntime(real=True)
    return machine


def _write(path: Path, *, weight: float = 1.0, batch: str = "", **metadata: str) -> Path:
    """Write a bundle that reads an image's brightness; with ``batch``, also its neighbours'."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=kind.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=kind.FLOAT),
        helper.make_node("ReduceMax", ["mask"], ["one"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["input_ids"], ["ids"], to=kind.FLOAT),
        helper.make_node("ReduceMin", ["ids"], ["zero"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "one"], ["product"]),
        helper.make_node("Add", ["product", "zero"], ["brightness"]),
        helper.make_node("Unsqueeze", ["brightness", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "weight"], ["alone"]),
        helper.make_node("ReduceSum", ["alone"], ["all"], keepdims=0),
        helper.make_node("Add" if not batch else "Mul", ["alone", batch or "nothing"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.array([[-0.01, 0.0, weight * 0.01]], np.float32), "weight"),
        onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
        onnx.numpy_helper.from_array(np.ones(1, np.int64), "last"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "bundle",
        [
            info("input_ids", kind.INT64, ["batch", "tokens"]),
            info("attention_mask", kind.INT64, ["batch", "tokens"]),
            info("pixels", kind.UINT8, ["batch", "height", "width", 3]),
        ],
        [info(name, kind.FLOAT, ["batch", 3]) for name in ("logits", "probabilities")],
        weights,
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    labels = ("negative", "neutral", "positive")
    description = BundleInfo("light", labels, ImageSettings(size=8), max_length=8)
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "day": 1}, unk_token="[UNK]"))
    texts = {
        INFO_KEY: description.to_json(),
        TOKENIZER_KEY: tokenizer.to_str(),
        SEAL_KEY: UNSEALED,
    }
    helper.set_model_props(model, texts | metadata)
    path.write_bytes(model.SerializeToString())
    seal(path)
    return path


def test_a_good_bundle_predicts(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx")
    result = machine.doctor("--model", str(path))
    assert (
        result.finding("bundle")["what"]
        == f"{path} (model light, fp32) opens, is undamaged and predicts"
    )
    assert result.code == 0


def test_a_truncated_bundle(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:700])
    result = machine.doctor("--model", str(path))
    found = result.finding("bundle-unusable")
    assert "can't be opened as an ONNX model" in found["why"]
    assert found["fix"].startswith("mmsent-export onnx")
    assert result.code == 1


def test_a_bundle_with_a_damaged_tokenizer(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx", **{TOKENIZER_KEY: "{"})
    assert TOKENIZER_KEY in machine.doctor("--model", str(path)).finding("bundle-unusable")["why"]


def test_a_bundle_with_one_changed_bit(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(-0.01).tobytes())] ^= 1  # a weight, which stays finite
    path.write_bytes(content)
    result = machine.doctor("--model", str(path))
    assert result.finding("bundle-damaged")["status"] == "failure"
    assert result.code == 1


def test_a_bundle_with_damaged_weights(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx", weight=math.nan)
    result = machine.doctor("--model", str(path))
    assert result.finding("bundle-wrong")["status"] == "failure"
    assert result.code == 1


def test_a_bundle_whose_results_depend_on_the_batch(machine: Machine, tmp_path: Path) -> None:
    path = _write(tmp_path / "model.onnx", weight=2.0, batch="all")
    result = machine.doctor("--model", str(path))
    assert "changed by" in result.finding("bundle-depends-on-batch")["why"]


def test_a_bundle_that_does_not_exist(machine: Machine, tmp_path: Path) -> None:
    result = machine.doctor("--model", str(tmp_path / "none.onnx"))
    assert "does not exist" in result.finding("bundle-unusable")["why"]
    assert result.code == 1


def test_a_bundle_that_crashes_the_process(machine: Machine, tmp_path: Path) -> None:
    source = "import os; os.kill(os.getpid(), 11)"
    machine.library("tokenizers", source, version="0.22.2")
    result = machine.doctor("--model", str(_write(tmp_path / "model.onnx")))
    assert "SIGSEGV" in result.finding("bundle-crashes")["what"]

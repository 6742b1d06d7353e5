"""`mmsent-export onnx --precision`: smaller bundles that agree with the fp32 one."""

import json
import logging
import shutil
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from mmsent import InputError, SentimentModel
from mmsent.bundle.info import OUTPUTS
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file
from mmsent.errors import MmsentError
from mmsent.inputs.text import pad_ids
from mmsent_export import export as exporting
from mmsent_export.fp16 import to_fp16
from mmsent_export.graph import to_onnx
from mmsent_export.quantize import calibrate, round_rows, to_int8
from mmsent_export.simplify import simplify
from mmsent_export.verify import Samples

SIZE = 32


class Transformer(nn.Module):
    """A small model with CLIP's parts: patches, pre-norm layers, a projection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(200, 64)
        self.patches = nn.Conv2d(3, 64, 8, stride=8, bias=False)
        self.norm, self.last = nn.LayerNorm(64), nn.LayerNorm(64)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)) for _ in range(2)
        )
        self.project = nn.Linear(64, 96, bias=False)
        self.head = nn.Linear(96, 3)
        with torch.no_grad():
            self.norm.weight[5] = 40  # an outlier, as in trained transformers

    def forward(self, input_ids, attention_mask, pixels):
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.4) / torch.tensor(
            [0.2, 0.25, 0.3]
        ).view(1, 3, 1, 1)
        image = self.patches(scaled).flatten(2).transpose(1, 2)
        states = []
        for layer, tokens in zip(self.layers, (self.table(input_ids), image)):
            states.append(tokens + layer(self.norm(tokens)))
        mask = attention_mask.unsqueeze(2).float()
        text = (states[0] * mask).sum(1) / mask.sum(1)
        return self.head(self.project(self.last(text + states[1].mean(1))))


class Attention(nn.Module):
    """Attention as transformers computes it, with an outlier among the values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.norm = nn.Embedding(200, 64), nn.LayerNorm(64)
        self.query, self.key, self.value, self.out = (nn.Linear(64, 64) for _ in range(4))
        self.head = nn.Linear(64, 3)
        with torch.no_grad():
            self.value.weight[5] *= 8
            self.value.bias[5] = 2

    def forward(self, input_ids, attention_mask, pixels):
        tokens = self.table(input_ids)
        states = self.norm(tokens)
        query, key, value = (
            layer(states).view(*input_ids.shape, 4, 16).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        far = (1 - attention_mask[:, None, None].float()) * -1e4
        shares = torch.softmax(query @ key.transpose(2, 3) / 4 + far, dim=3)
        averaged = (shares @ value).transpose(1, 2).reshape(*input_ids.shape, 64)
        return self.head((tokens + self.out(averaged))[:, 0])


def feeds(count, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        ids, mask = pad_ids([generator.integers(0, 200, generator.integers(1, 20)).tolist()])
        pixels = generator.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
        yield {"input_ids": ids, "attention_mask": mask, "pixels": pixels}


@pytest.fixture(scope="module")
def model():
    return Transformer().eval()


@pytest.fixture(scope="module")
def graph(model):
    return simplify(to_onnx(model, image_size=SIZE))


@pytest.fixture(scope="module")
def ranges(graph):
    return calibrate(graph, feeds(32))


def logits(graph, feed, options=None):
    session = ort.InferenceSession(graph.SerializeToString(), options)
    return session.run(OUTPUTS, feed)[0]


def errors(model, graph):
    """The distance of the graph's logits from PyTorch's, relative to their spread."""
    got, wanted = [], []
    for feed in feeds(24, seed=1):
        got.append(logits(graph, feed)[0])
        with torch.no_grad():
            wanted.append(model(*(torch.from_numpy(a) for a in feed.values()))[0].numpy())
    return np.abs(np.array(got) - np.array(wanted)).max() / np.std(wanted, axis=0).max()


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_int8_is_close_to_pytorch(model, graph, ranges, kept):
    assert errors(model, to_int8(graph, ranges, kept=kept)) < 0.2


def test_fp16_is_close_to_pytorch(model, graph):
    assert errors(model, to_fp16(graph)) < 0.02


def test_the_fp32_graph_is_not_changed(graph, ranges):
    before = graph.SerializeToString()
    to_int8(graph, ranges)
    to_fp16(graph)
    assert graph.SerializeToString() == before


def test_int8_overflows_on_no_processor(graph, ranges):
    """ONNX Runtime's exact kernel for processors without VNNI and its fastest agree bit for bit.

    On a processor with VNNI they are the same kernel, so the test also checks the weights: two
    neighbours times 255 must fit into 16 bits.
    """
    quantized = to_int8(graph, ranges)
    exact = ort.SessionOptions()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    for feed in feeds(8, seed=4):
        assert np.array_equal(logits(quantized, feed), logits(quantized, feed, exact))
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    makers = {node.output[0]: node for node in quantized.graph.node}
    products = [node for node in quantized.graph.node if node.op_type == "Gemm"]
    weights = [makers[node.input[1]] for node in products if node.input[1] in makers]
    factors = [constants[w.input[0]] for w in weights if w.op_type == "DequantizeLinear"]
    assert factors
    for weight in map(numpy_helper.to_array, factors):
        sizes = np.abs(weight.astype(np.int32))
        sums = sizes[::2][: len(sizes) // 2] + sizes[1::2]
        assert 255 * sums.max() < 2**15
        assert sizes.max() > 63  # and they use the range that is left


def test_int8_does_not_depend_on_the_batch(graph, ranges):
    """Also if its neighbours are far outside the calibrated range."""
    session = ort.InferenceSession(to_int8(graph, ranges).SerializeToString())
    feed = next(iter(feeds(1, seed=3)))
    alone = session.run(OUTPUTS, feed)[0]
    length = feed["input_ids"].shape[1]
    for other in (
        np.zeros((1, SIZE, SIZE, 3), np.uint8),
        np.full((1, SIZE, SIZE, 3), 255, np.uint8),
    ):
        batched = {
            "input_ids": np.pad(np.repeat(feed["input_ids"], 2, 0), ((0, 0), (0, 9))),
            "attention_mask": np.pad(np.ones((2, length), np.int64), ((0, 0), (0, 9))),
            "pixels": np.concatenate([feed["pixels"], other]),
        }
        batched["attention_mask"][1] = 1
        np.testing.assert_allclose(session.run(OUTPUTS, batched)[0][:1], alone, atol=1e-5)


def test_int8_computes_its_linear_layers_in_int8(graph, ranges, tmp_path):
    """No layer falls back to fp32 after ONNX Runtime's optimisations."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(to_int8(graph, ranges).SerializeToString(), options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QGemm") == 6  # two over text, two over patches, patches, project
    assert "MatMul" not in operators
    assert "Conv" not in operators


@pytest.mark.parametrize(
    ("network", "made"),
    [
        (Transformer, ["LayerNormalization", "Mul"]),  # by which what ReLU computes is divided
        (Attention, ["LayerNormalization", "Reshape"]),
    ],
)
def test_int8_divides_channels_where_they_are_computed(network, made):
    """In norms, also in one that is used twice, and in the values that attention averages."""
    model = network().eval()
    graph = simplify(to_onnx(model, image_size=SIZE))
    ranges = calibrate(graph, feeds(32))
    quantized = to_int8(graph, ranges)
    makers = {name: node for node in quantized.graph.node for name in node.output}
    rounded = [node for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted({makers[node.input[0]].op_type for node in rounded}) == made
    # What is left where only weights are rounded: a wrong scale would be a multiple of it.
    assert errors(model, to_int8(graph, ranges, kept=1.0)) < 0.05
    assert errors(model, quantized) < 0.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rounded_rows_differ_by_half_a_step_at_most(axis):
    weight = np.random.default_rng(0).normal(size=(7, 5, 3))
    rounded, scales = round_rows(weight.astype(np.float32), axis=axis)
    assert np.all(np.abs(rounded * scales - weight) <= scales * 0.501)
    assert rounded.dtype == np.int8


def samples(model):
    ids = [feed["input_ids"][0].tolist() for feed in feeds(40)]
    pixels = np.concatenate([feed["pixels"] for feed in feeds(40)])
    with torch.no_grad():
        labels = [
            model(*(torch.from_numpy(a) for a in feed.values())).argmax() for feed in feeds(40)
        ]
    return Samples("pairs", ids, pixels, np.array(labels))


def with_other_bias(graph, label):
    """A copy of a graph that never predicts ``label``."""
    altered = deepcopy(graph)
    bias = next(w for w in altered.graph.initializer if w.name.endswith("head.bias"))
    moved = numpy_helper.to_array(bias).copy()
    moved[label] -= 100
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    return altered


def test_too_large_a_loss_is_refused_unless_accepted(model, graph):
    pairs = samples(model)
    altered = with_other_bias(graph, pairs.labels[0])
    _, accepted = exporting.convert(model, altered, "fp16", [], pairs, 100.0)
    assert accepted.changed_labels > 0
    assert accepted.accuracy == pytest.approx((1.0, 1 - accepted.changed_labels / 40))
    assert accepted.loss == pytest.approx(100 * accepted.changed_labels / 40)
    assert "macro F1" in str(accepted)
    with pytest.raises(MmsentError, match=f"--accept-loss {accepted.loss:g}"):
        exporting.convert(model, altered, "fp16", [], pairs, 1.0)
    with pytest.raises(MmsentError, match="does not agree with PyTorch"):
        exporting.convert(model, altered, "fp32", [], pairs, 100.0)


@pytest.fixture(scope="module", params=["fp16", "int8"])
def small(request, run_command, trained, tmp_path_factory):
    """A bundle of the trained light run, and its precision."""
    folder = tmp_path_factory.mktemp(request.param)
    result = run_command(
        "mmsent-export", "onnx", trained, "--precision", request.param, "--accept-loss", 100,
        cwd=folder,
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder / "model.onnx", request.param


def test_a_small_bundle_is_small_and_standard(small, bundle):
    path, precision = small
    tables = 1.3e6  # the words' vectors and their numbers, which are whole numbers already
    sizes = [file.stat().st_size - tables for file in (path, bundle)]
    assert sizes[0] < sizes[1] * (0.6 if precision == "fp16" else 0.4)
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]


def test_a_small_bundle_has_its_precision_and_verification(small):
    path, precision = small
    info = SentimentModel(path).info
    assert info.precision == precision
    assert info.verification["accepted_loss"] == 100
    assert len(info.verification["accuracy"]) == len(info.verification["macro_f1"]) == 2


def test_a_small_bundle_agrees_with_the_fp32_one(small, bundle, sample):
    path, _ = small
    one, other = SentimentModel(path), SentimentModel(bundle)
    pairs = list(open_dataset(sample).select(TRAINING).rows())[:20]
    texts = [pair.read_text() for pair in pairs]
    images = [image_file(sample, pair.guid) for pair in pairs]
    for a, b in zip(one.predict(texts, images), other.predict(texts, images)):
        assert list(a.probabilities.values()) == pytest.approx(
            list(b.probabilities.values()), abs=0.03
        )


def test_int8_that_needs_calibration_is_refused_without_the_dataset(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["dataset"]["path"] = "/gone"
    (run / "run.json").write_text(json.dumps(record))
    exporting.export_run(run, tmp_path / "light.onnx", precision="int8")  # needs no calibration
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            exporting, "to_onnx", lambda *_, **__: to_onnx(Transformer(), image_size=SIZE)
        )
        with pytest.raises(InputError, match="calibrated on the run's training pairs"):
            exporting.export_run(run, tmp_path / "model.onnx", precision="int8")
    assert not (tmp_path / "model.onnx").exists()


def test_fp32_refuses_accept_loss(run_command, trained, tmp_path):
    result = run_command("mmsent-export", "onnx", trained, "--accept-loss", 2, cwd=tmp_path)
    assert result.code == 2
    assert "fp32 loses nothing" in result.err


@pytest.fixture
def poor_int8(model, monkeypatch):
    """Make int8 change every label until half of the inputs stay in fp32."""
    real, label = exporting.to_int8, samples(model).labels[0]

    def poor(graph, ranges, kept):
        quantized = real(graph, ranges, kept)
        return with_other_bias(quantized, label) if kept < 0.5 else quantized

    monkeypatch.setattr(exporting, "to_int8", poor)


@pytest.mark.usefixtures("poor_int8")
def test_sensitive_layers_stay_in_fp32_and_this_is_logged(model, graph, caplog):
    caplog.set_level(logging.INFO)
    _, verification = exporting.convert(model, graph, "int8", feeds(8), samples(model), 5.0)
    assert verification.kept_in_fp32 == 0.5
    assert "with 0% of the inputs in fp32" in caplog.text
    assert "with 25% of the inputs in fp32" in caplog.text

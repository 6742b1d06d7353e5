"""int8 convolutions: a chain of byte tensors from the pixels on, and where it ends."""

import logging
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from mmsent.bundle.info import OUTPUTS
from mmsent_export import export as exporting
from mmsent_export.convolutions import fit_range, round_kernels
from mmsent_export.graph import to_onnx
from mmsent_export.quantize import calibrate, linear_ranges, to_int8
from mmsent_export.simplify import simplify
from mmsent_export.verify import Samples

SIZE = 32


class Convolutions(nn.Module):
    """A small MobileNet: stem, depthwise and pointwise convolutions, ReLU6, a sum, a head."""

    def __init__(self, std=(128, 128, 128)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1).float())
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(16, 48, 1, bias=False)
        self.deep = nn.Conv2d(48, 48, 5, padding=2, groups=48)
        self.narrow = nn.Conv2d(48, 16, 1)
        self.last = nn.Conv2d(16, 64, 1)
        self.head = nn.Linear(64, 3)
        with torch.no_grad():
            for layer in (self.stem, self.wide, self.deep, self.last, self.head):
                layer.weight *= 4  # so that ReLU6 clips

    def forward(self, input_ids, attention_mask, pixels):
        image = (pixels.permute(0, 3, 1, 2).float() - 127) / self.std
        stem = nn.functional.relu6(self.stem(image))
        wide = nn.functional.relu6(self.wide(stem))
        deep = nn.functional.relu(self.deep(wide))
        last = nn.functional.relu6(self.last(stem + self.narrow(deep)))
        return self.head(last.mean((2, 3))) + 0 * input_ids.sum(1, keepdim=True)


def feeds(count, seed=0):
    """Pairs with smooth images: each block of 8 x 8 pixels has one colour."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        blocks = generator.integers(0, 256, (1, SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
        ids = np.array([[1, 2]])
        pixels = blocks.repeat(8, 1).repeat(8, 2)
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids), "pixels": pixels}


def export(model):
    return simplify(to_onnx(model, image_size=SIZE))


@pytest.fixture(scope="module")
def model():
    return Convolutions().eval()


@pytest.fixture(scope="module")
def graph(model):
    return export(model)


@pytest.fixture(scope="module")
def ranges(graph):
    return calibrate(graph, feeds(16))


@pytest.fixture(scope="module")
def quantized(graph, ranges):
    return to_int8(graph, ranges)


def unread():
    pytest.fail("there is nothing to calibrate")
    yield


def run(graph, feed, options=None):
    return ort.InferenceSession(graph.SerializeToString(), options).run(OUTPUTS, feed)[0]


def operators(graph, path):
    """The operators of a graph after ONNX Runtime's optimisations."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(graph.SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_logits_are_close_to_pytorchs(model, quantized):
    got, wanted = [], []
    for feed in feeds(24, seed=1):
        got.append(run(quantized, feed)[0])
        with torch.no_grad():
            wanted.append(model(*map(torch.from_numpy, feed.values()))[0].numpy())
    assert np.abs(np.array(got) - wanted).max() / np.std(wanted, axis=0).max() < 0.2


def test_no_float_tensor_is_between_them(quantized, tmp_path):
    found = operators(quantized, tmp_path / "optimised.onnx")
    assert found["QLinearConv"] == 5
    assert found["QLinearAdd"] == 1
    assert not found.keys() & {"Conv", "Clip", "Relu", "QuantizeLinear"}


def test_they_are_standard_and_smaller(graph, quantized):
    onnx.checker.check_model(quantized, full_check=True)
    assert {opset.domain for opset in quantized.opset_import} == {""}
    constants = [t for t in quantized.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len([t for t in constants if len(t.dims) == 4]) == 5


@pytest.mark.parametrize("kind", ["stem", "wide", "deep"])
def test_a_convolution_computes_what_onnx_defines(quantized, kind):
    """Each layer's bytes, compared with the definition in integer arithmetic on the same input."""
    makers = {node.output[0]: node for node in quantized.graph.node}
    values = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    convolutions = [node for node in quantized.graph.node if node.op_type == "Conv"]
    node = convolutions[["stem", "wide", "deep"].index(kind)]
    quantize = next(n for n in quantized.graph.node if n.input[0] == node.output[0])
    source, weight, bias = (makers[name] for name in node.input)
    probed = onnx.ModelProto.FromString(quantized.SerializeToString())
    for name in (source.input[0], quantize.output[0]):
        probed.graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(probed.SerializeToString())
    feed = next(iter(feeds(1, seed=5)))
    image, found = session.run([source.input[0], quantize.output[0]], feed)
    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    sums = nn.functional.conv2d(
        nn.functional.pad(
            torch.from_numpy(image.astype(np.int64) - int(values[source.input[2]])),
            tuple(settings["pads"][i] for i in (1, 3, 0, 2)),
        ).double(),
        torch.tensor(values[weight.input[0]]).double(),
        torch.tensor(values[bias.input[0]]).double(),
        stride=settings["strides"],
        groups=settings["group"],
    ).numpy()
    scale, zero = values[quantize.input[1]], values[quantize.input[2]]
    steps = values[bias.input[1]].reshape(-1, 1, 1)
    wanted = np.clip(np.round(sums * (steps / scale)) + zero, 0, 255)
    assert np.abs(found - wanted).max() <= 1  # ties may round either way in fp32
    assert np.mean(found != wanted) < 1e-3


@pytest.mark.parametrize("shape", [(8, 16, 1, 1), (8, 5, 3, 3), (8, 1, 5, 5), (4, 7, 1, 1)])
def test_rounded_kernels_overflow_on_no_processor_and_keep_their_sums(shape):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rounded, scales = round_kernels(weight)
    steps = scales[:, None, None, None]
    assert np.all(np.abs(rounded * steps - weight) < steps * 1.001)
    errors = (rounded * steps - weight).sum((1, 2, 3)) / scales
    assert np.abs(errors).max() < 0.51
    if shape[1] > 1:
        rows = np.abs(rounded.astype(int)).transpose(0, 2, 3, 1).reshape(shape[0], -1)
        rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
        sums = rows[:, ::2] + rows[:, 1::2]
        assert 255 * sums.max() < 2**15
        assert sums.max() > 120  # and they use the range that is left
    else:
        assert np.abs(rounded).max() == 127


def test_sums_are_exact_on_every_processor(quantized):
    exact = ort.SessionOptions()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    for feed in feeds(4, seed=4):
        assert np.array_equal(run(quantized, feed), run(quantized, feed, exact))


def test_a_pair_does_not_depend_on_its_batch(quantized):
    one, other = feeds(2, seed=3)
    both = {name: np.concatenate([one[name], 0 * other[name] + 255]) for name in one}
    both["input_ids"][1] = 3
    np.testing.assert_allclose(run(quantized, both)[:1], run(quantized, one), atol=1e-5)


def test_an_outlier_does_not_widen_the_range():
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    low, high = fit_range(np.append(values, 20).astype(np.float32))
    assert high < 16
    assert low < -1
    assert fit_range(np.zeros(5, np.float32)) == (0, 0)


def test_pixels_with_several_scales_keep_convolutions_in_fp32(tmp_path):
    """As in networks with ImageNet's normalisation; then nothing is calibrated."""
    graph = export(Convolutions(std=(50, 60, 70)).eval())
    ranges = calibrate(graph, unread())
    assert ranges == {}
    assert "QLinearConv" not in operators(to_int8(graph, ranges), tmp_path / "optimised.onnx")


def test_convolutions_that_lose_too_much_stay_in_fp32(model, graph, caplog, monkeypatch):
    pairs = list(feeds(40, seed=6))
    with torch.no_grad():
        labels = [model(*map(torch.from_numpy, feed.values())).argmax().item() for feed in pairs]
    pixels = np.concatenate([feed["pixels"] for feed in pairs])
    samples = Samples("pairs", [[1, 2]] * 40, pixels, np.array(labels))
    _, kept = exporting.convert(model, graph, "int8", feeds(16), samples, 30.0)
    assert kept.int8_convolutions
    assert "convolutions in int8" in str(kept)
    real = exporting.to_int8

    def poor(graph, ranges, share):
        made = real(graph, ranges, share)
        if len(linear_ranges(graph, ranges)) < len(ranges):
            bias = next(t for t in made.graph.initializer if t.name.endswith("head.bias"))
            moved = numpy_helper.to_array(bias).copy()
            moved[labels[0]] -= 1000
            bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
        return made

    monkeypatch.setattr(exporting, "to_int8", poor)
    caplog.set_level(logging.INFO)
    _, verification = exporting.convert(model, graph, "int8", feeds(16), samples, 3.0)
    assert not verification.int8_convolutions
    assert "convolutions in int8" in caplog.text

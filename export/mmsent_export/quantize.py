"""int8: a byte a weight, and the linear layers of transformers computed in int8.

Linear layers (MatMul with constant weights, and the bias after it) are most of a transformer's
work. Their weights are rounded per output channel, small enough for sums that overflow nowhere
(`round_factors`); their inputs with one scale for each layer that is fixed here, from training
pairs: at inference nothing is taken from a batch, so that a pair's result does not depend on its
neighbours. A layer's input channels are first brought to similar ranges, which changes nothing but
the rounding (SmoothQuant, Xiao et al. 2023, with its default exponent 0.5): by a LayerNorm before
it where only such layers read that, else by a multiplication. A layer over image patches reads the
pixels as they are: bytes need no rounding.

The other large weights (embeddings, GRU, layers over one vector a pair) are stored as bytes with a
scale for each row, convolutions in fp16, and computed with in fp32: an embedding's rows are
unpacked when they are looked up, the rest once, when ONNX Runtime opens the bundle.

Everything is standard ONNX; ONNX Runtime turns a Gemm between DequantizeLinear into its own int8
Gemm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from mmsent_export.patches import reads_patches
from mmsent_export.rewrite import Floats, Graph, drop_unread
from mmsent_export.simplify import tidy

Feed = dict[str, npt.NDArray[Any]]

SMALLEST = 4096
"""Weights of fewer numbers stay as they are: biases, normalisations, the last layer."""


@dataclass(frozen=True)
class Range:
    """Smallest value, largest value and mean square of each channel: float32 [channels]."""

    low: Floats
    high: Floats
    square: Floats

    def divided(self, factor: Floats) -> Range:
        """The range of a tensor whose channels are divided by ``factor``."""
        return Range(self.low / factor, self.high / factor, self.square / factor**2)

    def rounding(self) -> tuple[float, int]:
        """Scale and zero point that fit all channels into uint8."""
        low, high = min(0.0, float(self.low.min())), max(0.0, float(self.high.max()))
        scale = (high - low) / 255 or 1.0
        return scale, round(-low / scale)

    def noise(self) -> float:
        """The power of the error of rounding, as a part of the tensor's own."""
        return float(self.rounding()[0] ** 2 / 12 / max(self.square.mean(), 1e-12))


@dataclass(frozen=True)
class _Linear:
    """``output`` = ``source`` x ``weight`` + ``bias``; ``nodes`` compute it."""

    source: str
    weight: str
    bias: str | None
    output: str
    nodes: tuple[onnx.NodeProto, ...]


def calibrate(model: onnx.ModelProto, feeds: Callable[[], Iterable[Feed]]) -> dict[str, Range]:
    """The ranges that the inputs of the linear layers of a graph, from `simplify`, take.

    ``feeds`` gives inputs of training pairs, without padding; it is not called where there is no
    such layer.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    linears = _linears(graph)
    names = sorted({linear.source for linear in linears if not reads_patches(graph, linear.source)})
    return _ranges(copy, names, feeds()) if names else {}


def to_int8(
    model: onnx.ModelProto, ranges: dict[str, Range], *, kept: float = 0.0
) -> onnx.ModelProto:
    """The fp32 graph ``model``, from `simplify`, in int8; ``ranges`` are those of `calibrate`.

    ``kept``: the share of the linear layers' inputs that stay in fp32, those first that rounding
    hurts most. The weights there are bytes, too.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = Graph(quantized)
    ranges = dict(ranges)
    linears = _linears(graph)
    factors = _smooth(graph, linears, ranges)
    order = sorted(ranges, key=lambda name: -ranges[name].noise())
    fp32 = set(order[: round(kept * len(order))])
    _quantize_linears(graph, [item for item in linears if item.source not in fp32], ranges, factors)
    _pack(graph)
    tidy(quantized)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _linears(graph: Graph) -> list[_Linear]:
    """The linear layers, in order."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in graph.weights:
            continue
        weight = graph.value(node.input[1])
        if weight.ndim != 2 or weight.size < SMALLEST or len(graph.readers[node.input[1]]) > 1:
            continue
        output, bias, nodes = node.output[0], None, [node]
        readers = graph.readers.get(output, [])
        if len(readers) == 1 and readers[0].op_type == "Add":
            (other,) = (name for name in readers[0].input if name != output)
            if other in graph.weights and graph.value(other).shape == weight.shape[1:]:
                output, bias, nodes = readers[0].output[0], other, [node, readers[0]]
        found.append(_Linear(node.input[0], node.input[1], bias, output, tuple(nodes)))
    return found


def _ranges(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feed]
) -> dict[str, Range]:
    """The ranges that tensors take over ``feeds``. Gives ``model`` more outputs."""
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ranges: dict[str, Range] = {}
    for count, feed in enumerate(feeds):
        for name, value in zip(names, session.run(names, feed)):
            rows = value.reshape(-1, value.shape[-1])
            low, high, square = rows.min(0), rows.max(0), np.square(rows).mean(0)
            if known := ranges.get(name):
                low, high = np.minimum(low, known.low), np.maximum(high, known.high)
                square = (known.square * count + square) / (count + 1)
            ranges[name] = Range(low, high, square)
    return ranges


def _smooth(
    graph: Graph, linears: Sequence[_Linear], ranges: dict[str, Range]
) -> dict[str, Floats]:
    """Even out the channels of what linear layers read.

    Adapts their weights and ``ranges``, and the LayerNorms that only they read. Returns the
    factors, float32 [channels], by which the other inputs are still to be divided.
    """
    by_source: dict[str, list[_Linear]] = {}
    for linear in linears:
        by_source.setdefault(linear.source, []).append(linear)
    factors: dict[str, Floats] = {}
    for source, readers in by_source.items():
        if source not in ranges:
            continue
        span = ranges[source]
        inputs = np.maximum(-span.low, span.high)
        weights = np.max([np.abs(graph.value(item.weight)).max(1) for item in readers], axis=0)
        factor = np.sqrt(np.maximum(inputs, 1e-5) / np.maximum(weights, 1e-5)).astype(np.float32)
        maker = graph.makers[source]
        parameters = maker.input[1:]
        if (
            maker.op_type == "LayerNormalization"
            and len(graph.readers[source]) == len(readers)
            and all(name in graph.weights and len(graph.readers[name]) == 1 for name in parameters)
        ):
            for name in parameters:
                graph.put(name, graph.value(name) / factor)
            for item in readers:
                graph.put(item.weight, graph.value(item.weight) * factor[:, None])
        else:
            factors[source] = factor
        ranges[source] = span.divided(factor)
    return factors


def _quantize_linears(
    graph: Graph,
    linears: Sequence[_Linear],
    ranges: dict[str, Range],
    factors: dict[str, Floats],
) -> None:
    """Put a Gemm between DequantizeLinear in the place of each linear layer."""
    first, last = graph.put("first", np.array([0])), graph.put("last", np.array([-1]))
    nodes: dict[str, list[onnx.NodeProto]] = {}
    done: dict[str, float] = {}
    for linear in linears:
        source, made = linear.source, list[onnx.NodeProto]()
        weight = graph.value(linear.weight)
        if source in factors:
            weight = weight * factors[source][:, None]
        inner, outer = weight.shape
        if source not in done:
            scale, zero, bytes_, even = 1.0, 0, "", source
            if reads_patches(graph, source):
                bytes_ = graph.makers[source].input[0]
            else:
                scale, zero = ranges[source].rounding()
                if source in factors:
                    even = f"{source}_even"
                    inverse = graph.put(f"{source}_factor", 1 / factors[source])
                    made.append(helper.make_node("Mul", [source, inverse], [even]))
            done[source] = scale
            step = graph.put(f"{source}_scale", np.float32(scale))
            middle = graph.put(f"{source}_zero", np.uint8(zero))
            if not bytes_:
                bytes_ = f"{source}_int8"
                made.append(helper.make_node("QuantizeLinear", [even, step, middle], [bytes_]))
            rows = graph.put(f"rows_of_{inner}", np.array([-1, inner]))
            made += [
                helper.make_node("Reshape", [bytes_, rows], [f"{source}_rows"]),
                helper.make_node(
                    "DequantizeLinear", [f"{source}_rows", step, middle], [f"{source}_real"]
                ),
                helper.make_node("Shape", [bytes_], [f"{source}_shape"]),
                helper.make_node("Slice", [f"{source}_shape", first, last], [f"{source}_outer"]),
            ]
        rounded, scales = round_factors(weight)
        name = linear.output
        operands = [
            f"{source}_real",
            _dequantized(graph, made, f"{name}_weight", rounded, scales),
        ]
        if linear.bias:
            steps = (scales * np.float32(done[source])).astype(np.float32)
            bias = np.clip(np.round(graph.value(linear.bias) / steps), -(2.0**31), 2.0**31 - 128)
            operands.append(
                _dequantized(graph, made, f"{name}_bias", bias.astype(np.int32), steps, axis=0)
            )
        width = graph.put(f"width_{outer}", np.array([outer]))
        made += [
            helper.make_node("Gemm", operands, [f"{name}_rows"]),
            helper.make_node("Concat", [f"{source}_outer", width], [f"{name}_shape"], axis=0),
            helper.make_node("Reshape", [f"{name}_rows", f"{name}_shape"], [name]),
        ]
        nodes[linear.nodes[0].output[0]] = made
        nodes |= {node.output[0]: [] for node in linear.nodes[1:]}
    graph.replace(nodes)
    drop_unread(graph)


def _dequantized(
    graph: Graph,
    made: list[onnx.NodeProto],
    name: str,
    rounded: npt.NDArray[Any],
    scales: Floats,
    axis: int = 1,
) -> str:
    """Add a DequantizeLinear of constant integers to ``made``; returns its output's name."""
    inputs = [
        graph.put(f"{name}_int8", rounded),
        graph.put(f"{name}_scale", scales),
        graph.put(f"{name}_zero", np.zeros(scales.shape, rounded.dtype)),
    ]
    made.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_real"], axis=axis))
    return f"{name}_real"


def _pack(graph: Graph) -> None:
    """Store the weights that are still large as bytes, those of convolutions in fp16.

    As bytes, an image encoder's many small kernels would change more labels than all the rest.
    """
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for name, tensor in list(graph.weights.items()):
        readers = graph.readers.get(name, [])
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST or not readers:
            continue
        lookups = [node for node in readers if node.op_type == "Gather" and node.input[0] == name]
        axes = [_input_axes(node, name, len(tensor.dims)) for node in readers]
        if lookups and len(lookups) == len(readers) and len(tensor.dims) == 2:
            rounded, scales = round_rows(graph.value(name), axis=1)
            table, steps = graph.put(f"{name}_int8", rounded), graph.put(f"{name}_scale", scales)
            for node in lookups:
                nodes[node.output[0]] = _looked_up(node, table, steps)
            continue
        if readers[0].op_type == "Conv" and len(readers) == 1:
            half = graph.put(f"{name}_half", graph.value(name).astype(np.float16))
            unpacked = [helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT)]
        elif axes[0] is not None and all(item == axes[0] for item in axes):
            rounded, scales = round_rows(graph.value(name), axis=axes[0])
            table, steps = graph.put(f"{name}_int8", rounded), graph.put(f"{name}_scale", scales)
            unpacked = [
                helper.make_node("Cast", [table], [f"{name}_cast"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}_cast", steps], [name]),
            ]
        else:
            continue
        reader = readers[0].output[0]
        nodes[reader] = [*unpacked, *nodes.get(reader, [readers[0]])]
        graph.weights.pop(name).name = f"{name}_unused"
    graph.replace(nodes)


def _looked_up(node: onnx.NodeProto, table: str, steps: str) -> list[onnx.NodeProto]:
    """The nodes that look rows up in a table of bytes, and scale them."""
    output, ids = node.output[0], node.input[1]
    return [
        helper.make_node("Gather", [table, ids], [f"{output}_int8"], axis=0),
        helper.make_node("Gather", [steps, ids], [f"{output}_scale"], axis=0),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output]),
    ]


def _input_axes(node: onnx.NodeProto, name: str, rank: int) -> tuple[int, ...] | None:
    """The axes of a weight over which ``node`` sums; None where it is no weight of a product."""
    if node.op_type in ("GRU", "LSTM") and name in node.input[1:3]:
        return (2,)
    if node.op_type == "Gemm" and node.input[1] == name:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return (1,) if transposed else (0,)
    if node.op_type == "MatMul" and node.input[1] == name and rank == 2:
        return (0,)
    return None


def round_factors(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """The weights of a product of bytes, float32 [inner, outer], as int8 with a scale a column.

    x86 processors without VNNI multiply bytes by an instruction (PMADDUBSW) that adds two products,
    of rows 2n and 2n + 1, in 16 bits. So no two such weights may be larger than 128 together: by a
    byte each they then add up to 255 x 128 at most, and every processor computes the same sum.
    Returns int8 [inner, outer] and float32 [outer].
    """
    sizes = np.abs(weight)
    sums = sizes[::2].copy()
    sums[: len(sizes) // 2] += sizes[1::2]
    return _rounded(weight, sums.max(axis=0))  # 127 together; rounding may add a half to either


def round_rows(
    weight: Floats, *, axis: int | tuple[int, ...]
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights as int8 with a scale for each row, ``axis`` running along the rows.

    Returns the rounded weights and the scales, which broadcast over them.
    """
    return _rounded(weight, np.abs(weight).max(axis=axis, keepdims=True))


def _rounded(weight: Floats, largest: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights as int8, ``largest`` as 127; and the scales."""
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    return np.clip(np.round(weight / scales), -127, 127).astype(np.int8), scales

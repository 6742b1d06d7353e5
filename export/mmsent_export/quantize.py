"""int8: one byte per weight; convolutions and the linear layers of transformers computed in int8.

Linear layers (MatMul with constant weights, and the bias after it) are most of a transformer's
work. Their weights are rounded per output channel, to values small enough that no sum overflows
(`round_factors`). Their inputs have one scale per layer, which is calibrated here on training
pairs, so that a pair's result does not depend on its batch. Before that, SmoothQuant (Xiao et al.
2023, with its default exponent 0.5) brings the channels of an input to similar ranges: in the
LayerNorm that computes it, if only such layers read its output; in the layer of the values that
attention averages; otherwise by a multiplication.

Convolutions: see `convolutions`. The other large weights are stored as bytes with a scale per row,
kernels of other convolutions in fp16; both are computed in fp32. An embedding's rows are unpacked
at lookup, the rest once, when ONNX Runtime opens the bundle.

Everything is standard ONNX; ONNX Runtime converts a Gemm between DequantizeLinear to its int8 Gemm.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from mmsent_export.convolutions import find_chain, fit_range, round_convolutions, sample
from mmsent_export.patches import is_patches
from mmsent_export.rewrite import Floats, Graph, Nodes, make_node
from mmsent_export.session import Feed, open_session
from mmsent_export.simplify import tidy

SMALLEST = 4096
"""Weights with fewer elements stay in fp32: biases, normalisations, the last layer."""


@dataclass(frozen=True)
class Range:
    """Smallest value, largest value and mean square of each channel: float32 [channels]."""

    low: Floats
    high: Floats
    square: Floats

    def rounding(self) -> tuple[float, int]:
        """The scale and zero point that map all channels to uint8."""
        low, high = min(0.0, float(self.low.min())), max(0.0, float(self.high.max()))
        scale = (high - low) / 255 or 1.0
        return scale, round(-low / scale)

    def noise(self) -> float:
        """The power of the rounding error relative to that of the tensor."""
        return float(self.rounding()[0] ** 2 / 12 / max(self.square.mean(), 1e-12))


Ranges = dict[str, Range]
Factors = dict[str, Floats]


@dataclass(frozen=True)
class _Linear:
    """``product`` = ``source`` x ``weight``, and ``output`` = ``product`` + ``bias``, if any."""

    source: str
    weight: str
    product: str
    bias: str | None
    output: str


def calibrate(model: ModelProto, feeds: Iterable[Feed]) -> Ranges:
    """Measure the ranges of what ``model``, a graph from `simplify`, is to round to bytes.

    These are the inputs of linear layers, and the outputs of convolutions.

    ``feeds``: inputs of training pairs, without padding. They are not read if there is nothing
    to round.
    """
    graph = Graph(model)
    names = sorted({item.source for item in _linears(graph) if not is_patches(graph, item.source)})
    maps = [step.output for step in find_chain(graph)]
    if not names and not maps:
        return {}
    session = open_session(model, probes=[*names, *maps])
    ranges: Ranges = {}
    samples: dict[str, list[Floats]] = {name: [] for name in maps}
    for count, feed in enumerate(feeds):
        values = dict(zip([*names, *maps], session.run([*names, *maps], feed)))
        for name in maps:
            samples[name].append(sample(values[name]))
        for name in names:
            value = values[name]
            rows = value.reshape(-1, value.shape[-1])
            low, high, square = rows.min(0), rows.max(0), np.square(rows).mean(0)
            if known := ranges.get(name):
                low, high = np.minimum(low, known.low), np.maximum(high, known.high)
                square = (known.square * count + square) / (count + 1)
            ranges[name] = Range(low, high, square)
    return ranges | {name: _fitted(np.concatenate(parts)) for name, parts in samples.items()}


def _fitted(values: Floats) -> Range:
    """The range of a tensor of convolutions, as one channel."""
    low, high = fit_range(values)
    return Range(*(np.array([part], np.float32) for part in (low, high, np.square(values).mean())))


def linear_ranges(model: ModelProto, ranges: Ranges) -> Ranges:
    """``ranges`` without those of convolutions, which `to_int8` then computes in fp32."""
    maps = {step.output for step in find_chain(Graph(model))}
    return {name: span for name, span in ranges.items() if name not in maps}


def to_int8(model: ModelProto, ranges: Ranges, kept: float = 0.0) -> ModelProto:
    """Convert the fp32 graph ``model``, from `simplify`, to int8, with ``ranges`` from `calibrate`.

    ``kept``: the share of the linear layers' inputs that stay in fp32, starting with those that
    rounding hurts most. Their weights are stored as bytes all the same.
    """
    quantized = deepcopy(model)
    graph = Graph(quantized)
    if steps := [step for step in find_chain(graph) if step.output in ranges]:
        roundings = {step.output: ranges[step.output].rounding() for step in steps}
        round_convolutions(graph, steps, roundings)
        ranges = {name: span for name, span in ranges.items() if name not in roundings}
    ranges, factors = _smooth(graph, ranges)
    linears = _linears(graph)
    order = sorted(ranges, key=lambda name: -ranges[name].noise())
    fp32 = order[: round(kept * len(order))]
    _quantize(graph, [item for item in linears if item.source not in fp32], ranges, factors)
    _pack(graph)
    tidy(quantized)
    return quantized


def _linears(graph: Graph) -> list[_Linear]:
    """The linear layers, in order."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in graph.weights:
            continue
        (source, weight), product = node.input, node.output[0]
        shape = graph.weights[weight].dims
        if len(shape) != 2 or np.prod(shape) < SMALLEST or len(graph.readers[weight]) > 1:
            continue
        bias, output = None, product
        readers = graph.readers.get(product, [])
        if len(readers) == 1 and readers[0].op_type == "Add":
            (other,) = (name for name in readers[0].input if name != product)
            if other in graph.weights and graph.weights[other].dims == shape[1:]:
                bias, output = other, readers[0].output[0]
        found.append(_Linear(source, weight, product, bias, output))
    return found


def _smooth(graph: Graph, ranges: Ranges) -> tuple[Ranges, Factors]:
    """Bring the channels of the linear layers' inputs to similar ranges (SmoothQuant).

    Returns the new ranges, and the factors, float32 [channels], by which to divide those inputs
    that are not divided where they are computed.
    """
    linears = _linears(graph)
    smooth: Ranges = {}
    factors: Factors = {}
    for source, span in ranges.items():
        inputs = np.maximum(-span.low, span.high)
        weights = [np.abs(graph.value(item.weight)) for item in linears if item.source == source]
        largest = np.max([weight.max(1) for weight in weights], axis=0)
        factor = np.sqrt(np.maximum(inputs, 1e-5) / np.maximum(largest, 1e-5)).astype(np.float32)
        smooth[source] = Range(span.low / factor, span.high / factor, span.square / factor**2)
        factors[source] = factor
    for source in ranges:
        readers = [item for item in linears if item.source == source]
        if not (parameters := _parameters(graph, linears, source, len(readers))):
            continue
        factor = factors.pop(source)
        for node, place in parameters:
            _put_own(graph, node, place, graph.value(node.input[place]) / factor)
        for item in readers:
            graph.put(item.weight, graph.value(item.weight) * factor[:, None])
    graph.replace({})  # index it again
    return smooth, factors


def _parameters(
    graph: Graph, linears: Sequence[_Linear], source: str, count: int
) -> list[tuple[NodeProto, int]]:
    """The weights that divide ``source`` if they are divided, as nodes and places of their inputs.

    They belong to a LayerNorm, or to the linear layer of the values that attention averages. None
    if something else reads ``source`` than its size and ``count`` linear layers.
    """
    others = [node for node in graph.readers[source] if node.op_type != "Shape"]
    if source in graph.outputs or len(others) != count:
        return []
    maker = graph.makers[source]
    if maker.op_type == "LayerNormalization":
        found = [(maker, place) for place in range(1, len(maker.input))]
    elif values := _averaged(graph, linears, source):
        found = [(graph.makers[values.product], 1)]
        if values.bias:
            bias = graph.makers[values.output]
            found.append((bias, list(bias.input).index(values.bias)))
    else:
        return []
    return found if all(node.input[place] in graph.weights for node, place in found) else []


def _averaged(graph: Graph, linears: Sequence[_Linear], source: str) -> _Linear | None:
    """The linear layer whose outputs are ``source`` once attention has averaged them, if any.

    Each head averages its own channels, with the same weights, so their scales stay what they are.
    """
    name = source
    for operator in ("Reshape", "Transpose", "MatMul", "Transpose", "Reshape"):
        maker = graph.makers.get(name)
        if maker is None or maker.op_type != operator:
            return None
        if operator == "Transpose" and list(maker.attribute[0].ints) != [0, 2, 1, 3]:
            return None
        name = maker.input[int(operator == "MatMul")]
        if len(graph.readers[name]) > 1:
            return None
    width = graph.weights[graph.readers[source][0].input[1]].dims[0]
    return next(
        (
            item
            for item in linears
            if item.output == name and graph.weights[item.weight].dims[1] == width
        ),
        None,
    )


def _put_own(graph: Graph, node: NodeProto, place: int, value: Floats) -> None:
    """Set the values of a node's input, a weight, but not of other nodes that share it."""
    if len(graph.readers[node.input[place]]) > 1:
        node.input[place] = f"{node.output[0]}_{place}"
    graph.put(node.input[place], value)


def _quantize(graph: Graph, linears: Sequence[_Linear], ranges: Ranges, factors: Factors) -> None:
    """Replace each linear layer by a Gemm between DequantizeLinear nodes."""
    graph.put("first", np.array([0]))
    graph.put("last", np.array([-1]))
    nodes: dict[str, Nodes] = {}
    for linear in linears:
        source, name = linear.source, linear.output
        made = nodes[linear.product] = []
        if f"{source}_scale" not in graph.weights:
            made += _round_input(graph, linear, ranges, factors)
        weight = graph.value(linear.weight)
        if source in factors:
            weight = weight * factors[source][:, None]
        rounded, scales = round_factors(weight)
        constants = [_dequantize(graph, f"{name}_weight", rounded, scales, axis=1)]
        if linear.bias:
            scales = scales * graph.value(f"{source}_scale")
            bias = np.clip(np.round(graph.value(linear.bias) / scales), -(2.0**31), 2.0**31 - 128)
            constants.append(
                _dequantize(graph, f"{name}_bias", bias.astype(np.int32), scales, axis=0)
            )
            nodes[linear.output] = []
        operands = [f"{source}_real", *(node.output[0] for node in constants)]
        width = graph.put(f"width_{weight.shape[1]}", np.array([weight.shape[1]]))
        made += [
            *constants,
            make_node("Gemm", *operands, out=f"{name}_rows"),
            make_node("Concat", f"{source}_outer", width, out=f"{name}_shape", axis=0),
            make_node("Reshape", f"{name}_rows", f"{name}_shape", out=name),
        ]
    graph.replace(nodes)


def _round_input(graph: Graph, linear: _Linear, ranges: Ranges, factors: Factors) -> Nodes:
    """The nodes that round what ``linear`` reads; patches, which have no range, are bytes already.

    They compute ``source``_real, [rows, channels], and ``source``_outer, the other axes' sizes.
    """
    source, channels = linear.source, graph.weights[linear.weight].dims[0]
    made, even, rounded = Nodes(), source, f"{source}_int8"
    if source in factors:
        inverse, even = graph.put(f"{source}_factor", 1 / factors[source]), f"{source}_even"
        made.append(make_node("Mul", source, inverse, out=even))
    scale, zero = ranges[source].rounding() if source in ranges else (1.0, 0)
    step = graph.put(f"{source}_scale", np.float32(scale))
    middle = graph.put(f"{source}_zero", np.uint8(zero))
    if source in ranges:
        made.append(make_node("QuantizeLinear", even, step, middle, out=rounded))
    else:
        rounded = graph.makers[source].input[0]
    shape = graph.put(f"rows_of_{channels}", np.array([-1, channels]))
    return [
        *made,
        make_node("Reshape", rounded, shape, out=f"{source}_rows"),
        make_node("DequantizeLinear", f"{source}_rows", step, middle, out=f"{source}_real"),
        make_node("Shape", rounded, out=f"{source}_shape"),
        make_node("Slice", f"{source}_shape", "first", "last", out=f"{source}_outer"),
    ]


def _dequantize(
    graph: Graph, name: str, rounded: npt.NDArray[Any], scales: Floats, *, axis: int
) -> NodeProto:
    """A DequantizeLinear of constant integers."""
    constants = {"int8": rounded, "scale": scales, "zero": np.zeros(scales.shape, rounded.dtype)}
    inputs = [graph.put(f"{name}_{part}", value) for part, value in constants.items()]
    return make_node("DequantizeLinear", *inputs, out=f"{name}_real", axis=axis)


def _pack(graph: Graph) -> None:
    """Store the remaining large weights as bytes, and those of convolutions in fp16.

    As bytes, an image encoder's many small kernels would change more labels than all other layers.
    """
    nodes: dict[str, Nodes] = {}
    for name, tensor in list(graph.weights.items()):
        readers = graph.readers.get(name, [])
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST or not readers:
            continue
        if [node.op_type for node in readers] == ["Conv"]:
            half = graph.put(f"{name}_half", graph.value(name).astype(np.float16))
            unpacked = [make_node("Cast", half, out=name, to=TensorProto.FLOAT)]
        else:
            uses = {_use(node, name, len(tensor.dims)) for node in readers}
            use = uses.pop()
            if use is None or uses:
                continue
            lookup, axis = use
            rounded, scales = round_rows(graph.value(name), axis=axis)
            table, steps = graph.put(f"{name}_int8", rounded), graph.put(f"{name}_scale", scales)
            if lookup:
                nodes |= {node.output[0]: _look_up(node, table, steps) for node in readers}
                continue
            unpacked = _unpack(table, steps, name)
        reader = readers[0].output[0]
        nodes[reader] = [*unpacked, *nodes.get(reader, [readers[0]])]
        graph.weights.pop(name).name = f"{name}_unused"
    graph.replace(nodes)


def _look_up(node: NodeProto, table: str, steps: str) -> Nodes:
    """The nodes that look rows up in a table of bytes, and unpack them."""
    output, ids = node.output[0], node.input[1]
    rows, scales = f"{output}_int8", f"{output}_scale"
    return [
        make_node("Gather", table, ids, out=rows, axis=0),
        make_node("Gather", steps, ids, out=scales, axis=0),
        *_unpack(rows, scales, output),
    ]


def _unpack(rounded: str, scales: str, name: str) -> Nodes:
    """The nodes that compute the tensor ``name`` = ``rounded`` x ``scales``."""
    return [
        make_node("Cast", rounded, out=f"{name}_cast", to=TensorProto.FLOAT),
        make_node("Mul", f"{name}_cast", scales, out=name),
    ]


def _use(node: NodeProto, name: str, rank: int) -> tuple[bool, int] | None:
    """Whether ``node`` looks up rows of a weight, or sums over them, and the axis along a row."""
    match node.op_type, list(node.input).index(name), rank:
        case "GRU" | "LSTM", 1 | 2, 3:
            return False, 2
        case "Gather", 0, 2:
            return True, 1
        case "MatMul", 1, 2:
            return False, 0
        case "Gemm", 1, 2:
            return False, int(any(item.name == "transB" and item.i for item in node.attribute))
    return None


def round_factors(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round the weights of a matrix product, float32 [inner, outer], to int8, one scale per column.

    x86 processors without VNNI multiply bytes by an instruction (PMADDUBSW) that adds two products,
    of rows 2n and 2n + 1, in 16 bits. So two such weights may add up to at most 128: times a byte
    each they give at most 255 x 128, and every processor computes the same sum.
    Returns int8 [inner, outer] and float32 [outer].
    """
    sizes = np.abs(weight)
    sums = sizes[::2].copy()
    sums[: len(sizes) // 2] += sizes[1::2]
    return _rounded(weight, sums.max(axis=0))  # 127 together; rounding may add a half to either


def round_rows(weight: Floats, *, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights as int8, and one scale for each row along ``axis``, shaped to broadcast."""
    return _rounded(weight, np.abs(weight).max(axis=axis, keepdims=True))


def _rounded(weight: Floats, largest: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights as int8, ``largest`` as 127; and the scales."""
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    return np.clip(np.round(weight / scales), -127, 127).astype(np.int8), scales

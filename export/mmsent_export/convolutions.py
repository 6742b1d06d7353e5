"""int8 convolutions: a chain from the pixels on, in which every tensor is a byte.

A convolution is computed in int8 if it reads the pixels, scaled alike in all channels, or a tensor
that the chain has written. Sums of two such tensors belong to the chain. Each tensor has one scale
and one zero point, calibrated on training pairs. ReLU6 and ReLU need no operator: their outputs
start at 0, and rounding to bytes cuts off the rest. The pixels are bytes already.

The graph gets QuantizeLinear and DequantizeLinear around fp32 operators, as ONNX defines them. ONNX
Runtime converts them to QLinearConv, which computes with bytes from end to end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from mmsent.bundle.info import INPUTS
from mmsent_export.patches import affine_of_pixels
from mmsent_export.rewrite import Floats, Graph, Nodes, make_node

SAMPLE = 4096
"""Values of a tensor that are calibrated on, for each pair."""
SHARES = np.linspace(1, 0.3, 36)
"""Shares of a tensor's range that `fit_range` tries."""


@dataclass(frozen=True)
class Step:
    """A Conv or Add of the chain; ``output``: its result, after the activation that follows it."""

    node: NodeProto
    output: str


def find_chain(graph: Graph) -> list[Step]:
    """The convolutions and sums that can be computed in int8, in order."""
    known: set[str] = set()
    steps = []
    for node in graph.model.graph.node:
        if node.op_type == "Conv":
            reads = node.input[0] in known or pixel_rounding(graph, node.input[0]) is not None
            chained = reads and set(node.input[1:]) <= graph.weights.keys()
        else:
            chained = node.op_type == "Add" and known.issuperset(node.input)
        if chained:
            steps.append(Step(node, _activation(graph, node.output[0])))
            known.add(steps[-1].output)
    return steps


def pixel_rounding(graph: Graph, name: str) -> tuple[float, int] | None:
    """The scale and zero point of a tensor of scaled pixels, if it has only one of each."""
    slope, offset = affine_of_pixels(graph, name) or (np.zeros(3), np.zeros(3))
    if np.ptp(slope) or np.ptp(offset) or not slope[0] > 0:
        return None
    zero = -offset[0] / slope[0]
    return (float(slope[0]), round(zero)) if 0 <= zero <= 255 and zero == round(zero) else None


def sample(values: Floats) -> Floats:
    """Some of a tensor's values, spread evenly: float32 [at most SAMPLE]."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLE)][:SAMPLE].copy()


def fit_range(values: Floats) -> tuple[float, float]:
    """The range, around 0, whose 256 steps have the smallest mean squared error for ``values``."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))

    def error(share: float) -> float:
        scale = share * (high - low) / 255 or 1.0
        zero = round(-share * low / scale)
        rounded = np.clip(np.round(values / scale) + zero, 0, 255)
        return float(np.square((rounded - zero) * scale - values).mean())

    best = min(SHARES, key=error)
    return best * low, best * high


def round_convolutions(
    graph: Graph, steps: Sequence[Step], roundings: dict[str, tuple[float, int]]
) -> None:
    """Compute ``steps`` in int8; ``roundings`` are the scale and zero point of each output."""
    nodes: dict[str, Nodes] = {}
    real: dict[str, str] = {}  # the dequantised tensors, by the names of the original ones
    scales: dict[str, float] = {name: scale for name, (scale, _) in roundings.items()}
    for step in steps:
        node, output = step.node, step.output
        made = Nodes()
        if node.op_type == "Conv" and node.input[0] not in real:
            made += _dequantize_pixels(graph, node.input[0])
            real[node.input[0]] = f"{node.input[0]}_real"
            scales[node.input[0]] = graph.value(f"{node.input[0]}_scale").item()
        inputs = [real.get(name, name) for name in node.input]
        if node.op_type == "Conv":
            constants = _round_weights(graph, node, scales[node.input[0]])
            made += constants
            inputs[1:] = [constant.output[0] for constant in constants]
        computed = helper.make_node(node.op_type, inputs, [f"{output}_float"])
        computed.attribute.extend(node.attribute)
        scale = graph.put(f"{output}_scale", np.float32(roundings[output][0]))
        zero = graph.put(f"{output}_zero", np.uint8(roundings[output][1]))
        made += [
            computed,
            make_node("QuantizeLinear", f"{output}_float", scale, zero, out=f"{output}_int8"),
            make_node("DequantizeLinear", f"{output}_int8", scale, zero, out=output),
        ]
        real[output] = output
        nodes[node.output[0]] = made
        if node.output[0] != output:
            nodes[output] = []
    graph.replace(nodes)


def _activation(graph: Graph, name: str) -> str:
    """The output of the ReLU or ReLU6 that alone reads ``name``; without one, ``name``."""
    readers = graph.readers.get(name, [])
    if len(readers) != 1 or name in graph.outputs:
        return name
    (reader,) = readers
    if reader.op_type == "Relu":
        return str(reader.output[0])
    starts = list(reader.input[1:2])
    if reader.op_type == "Clip" and starts and graph.weights.keys() >= set(reader.input[1:]):
        return str(reader.output[0]) if graph.value(starts[0]) == 0 else name
    return name


def _dequantize_pixels(graph: Graph, name: str) -> Nodes:
    """The nodes that compute ``name``_real, the scaled pixels, from the pixels' bytes."""
    rounding = pixel_rounding(graph, name)
    assert rounding is not None
    scale = graph.put(f"{name}_scale", np.float32(rounding[0]))
    zero = graph.put(f"{name}_zero", np.uint8(rounding[1]))
    return [
        make_node("Transpose", INPUTS[2], out=f"{name}_int8", perm=[0, 3, 1, 2]),
        make_node("DequantizeLinear", f"{name}_int8", scale, zero, out=f"{name}_real"),
    ]


def _round_weights(graph: Graph, conv: NodeProto, scale: float) -> Nodes:
    """The nodes that compute a convolution's weights and bias from int8 and int32."""
    weight, name = graph.value(conv.input[1]), conv.output[0]
    rounded, steps = round_kernels(weight)
    bias = graph.value(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(weight), np.float32)
    bias_steps = (steps * np.float32(scale)).astype(np.float32)
    whole = np.clip(np.round(bias / bias_steps), -(2.0**31), 2.0**31 - 128).astype(np.int32)
    nodes = Nodes()
    for part, values, sizes in (("weight", rounded, steps), ("bias", whole, bias_steps)):
        constants = (values, sizes, np.zeros(len(sizes), values.dtype))
        inputs = [
            graph.put(f"{name}_{part}_{kind}", constant)
            for kind, constant in zip(("int", "scale", "zero"), constants)
        ]
        nodes.append(make_node("DequantizeLinear", *inputs, out=f"{name}_{part}", axis=0))
    return nodes


def round_kernels(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round a convolution's weights, float32 [outer, inner, height, width], to int8.

    One scale for each output channel. Sums must not overflow on processors without VNNI: see
    `mmsent_export.quantize.round_factors`. There, neighbours are those of ONNX Runtime's order,
    in which the input channels come last. Depthwise convolutions are not computed in pairs.
    Returns int8, shaped as ``weight``, and float32 [outer].
    """
    sizes = np.abs(weight)
    if weight.shape[1] == 1:
        largest = sizes.reshape(len(weight), -1).max(1)
    else:
        rows = sizes.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        sums = rows[:, ::2].copy()
        sums[:, : rows.shape[1] // 2] += rows[:, 1::2]
        largest = sums.max(1)
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    exact = (weight / scales[:, None, None, None]).reshape(len(weight), -1)
    return _round_with_sums(exact).reshape(weight.shape).astype(np.int8), scales


def _round_with_sums(exact: Floats) -> Floats:
    """Round numbers, [rows, columns], down or up so that each row's sum is off by at most a half.

    What a convolution of a network with ReLU reads is positive and smooth, so that the errors of
    its weights add up: with each weight rounded to the nearest, their sum matters more than all
    else. Of each row, as few as possible are rounded the other way, the nearest to a half first
    (as in SQuant, Guo et al. 2022, which needs no data either).
    """
    rounded = np.round(exact)
    error = rounded - exact
    excess = np.round(error.sum(1)).astype(int)
    order = np.argsort(-np.sign(excess)[:, None] * error, axis=1, kind="stable")
    turned = np.arange(exact.shape[1]) < np.abs(excess)[:, None]
    shift = np.zeros_like(rounded)
    np.put_along_axis(shift, order, turned * np.sign(excess)[:, None], axis=1)
    return rounded - shift

"""A transformer's image patches as one linear layer over the pixels' bytes.

A convolution whose windows do not overlap is a matrix product over the windows. Scaling and
normalisation fold into its weights at no cost, and int8 need not round its inputs: they are bytes.
"""

import numpy as np
from onnx import NodeProto, TensorProto, helper

from mmsent.bundle.info import INPUTS
from mmsent_export.rewrite import Floats, Graph, Nodes, image_size, make_node

_PATCHES = "patches"


def patches_as_linear(graph: Graph) -> None:
    """Turn a convolution of the pixels whose windows do not overlap into a linear layer."""
    for node in graph.model.graph.node:
        if _is_over_windows(graph, node) and (affine := affine_of_pixels(graph, node.input[0])):
            graph.replace({node.output[0]: _linear(graph, node, *affine)})
            return


def is_patches(graph: Graph, name: str) -> bool:
    """Whether a tensor is the input of the layer over patches: bytes, cast to float."""
    return name in graph.makers and graph.makers[name].name == _PATCHES


def _is_over_windows(graph: Graph, node: NodeProto) -> bool:
    """Whether ``node`` is a convolution of square windows that tile an RGB image."""
    if node.op_type != "Conv" or node.input[1] not in graph.weights:
        return False
    _, *window = graph.weights[node.input[1]].dims
    edge = window[-1]
    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return (
        window == [3, edge, edge]
        and settings.get("strides") == [edge, edge]
        and not any(settings.get("pads", []))
        and all(step == 1 for step in settings.get("dilations", []))
        and image_size(graph.model) % edge == 0
    )


def _linear(graph: Graph, conv: NodeProto, slope: Floats, offset: Floats) -> Nodes:
    """The nodes that compute ``conv``, of ``slope`` x pixels + ``offset``, as a matrix product."""
    weight, name = graph.value(conv.input[1]), conv.output[0]
    channels, _, _, edge = weight.shape
    side = image_size(graph.model) // edge
    bias = graph.value(conv.input[2]) if len(conv.input) > 2 else np.zeros(channels, np.float32)
    bias = bias + np.einsum("ocij,c->o", weight, offset)
    rows = np.einsum("ocij,c->ijco", weight, slope).reshape(-1, channels)
    graph.put(f"{name}_windows", np.array([-1, side, edge, side, edge, 3]))
    graph.put(f"{name}_flat", np.array([-1, side, side, edge * edge * 3]))
    graph.put(f"{name}_weight", rows.astype(np.float32))
    graph.put(f"{name}_bias", bias.astype(np.float32))
    floats = f"{name}_pixels"
    return [
        make_node("Reshape", INPUTS[2], f"{name}_windows", out=f"{name}_cut"),
        make_node("Transpose", f"{name}_cut", out=f"{name}_near", perm=[0, 1, 3, 2, 4, 5]),
        make_node("Reshape", f"{name}_near", f"{name}_flat", out=f"{name}_bytes"),
        make_node("Cast", f"{name}_bytes", out=floats, name=_PATCHES, to=TensorProto.FLOAT),
        make_node("MatMul", floats, f"{name}_weight", out=f"{name}_product"),
        make_node("Add", f"{name}_product", f"{name}_bias", out=f"{name}_nhwc"),
        make_node("Transpose", f"{name}_nhwc", out=name, perm=[0, 3, 1, 2]),
    ]


def affine_of_pixels(graph: Graph, name: str) -> tuple[Floats, Floats] | None:
    """(slope, offset), float32 [3], if a tensor is slope x pixels + offset, else None."""
    slope, offset, transposed = np.ones(3), np.zeros(3), False
    while node := graph.makers.get(name):
        if node.op_type in ("Div", "Mul", "Sub", "Add") and node.input[1] in graph.weights:
            value = graph.value(node.input[1]).reshape(-1)
            if value.size not in (1, 3):
                return None
            if node.op_type in ("Div", "Mul"):
                slope = slope * (1 / value if node.op_type == "Div" else value)
            else:
                offset = offset + slope * (value if node.op_type == "Add" else -value)
        elif node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 3, 1, 2]:
            transposed = True
        elif node.op_type != "Cast":
            return None
        name = node.input[0]
    if name != INPUTS[2] or not transposed:
        return None
    return slope.astype(np.float32), offset.astype(np.float32)

"""A transformer's image patches as one linear layer over the pixels' bytes.

A convolution whose windows do not overlap is a matrix product of them. Scaling and normalisation
cost nothing in its weights, and int8 needs no rounding of what are bytes anyhow.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from mmsent.bundle.info import INPUTS
from mmsent_export.rewrite import Floats, Graph, drop_unread

_PATCHES = "patches"


def patches_as_linear(graph: Graph) -> None:
    """Turn a convolution of the pixels whose windows do not overlap into a linear layer.

    Scaling and normalisation of the pixels go into its weights and its bias.
    """
    for node in graph.model.graph.node:
        if node.op_type != "Conv" or node.input[1] not in graph.weights:
            continue
        weight = graph.value(node.input[1])
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        edge = weight.shape[-1]
        if (
            settings.get("strides") != [edge, edge]
            or weight.shape[1:] != (3, edge, edge)
            or any(settings.get("pads", [0]))
            or any(step != 1 for step in settings.get("dilations", []))
        ):
            continue
        affine = _affine_of_pixels(graph, node.input[0])
        if affine is None:
            continue
        slope, offset = affine
        shape = next(i for i in graph.model.graph.input if i.name == INPUTS[2]).type.tensor_type
        size = shape.shape.dim[1].dim_value
        if size % edge:
            continue
        side, channels = size // edge, weight.shape[0]
        bias = graph.value(node.input[2]) if len(node.input) > 2 else np.zeros(channels, np.float32)
        bias = bias + np.einsum("ocij,c->o", weight, offset)
        rows = np.einsum("ocij,c->ijco", weight, slope).reshape(-1, channels)
        name = node.output[0]
        windows = graph.put(f"{name}_windows", np.array([-1, side, edge, side, edge, 3]))
        flat = graph.put(f"{name}_flat", np.array([-1, side, side, edge * edge * 3]))
        graph.put(f"{name}_weight", rows.astype(np.float32))
        graph.put(f"{name}_bias", bias.astype(np.float32))
        graph.replace(
            {
                node.output[0]: [
                    helper.make_node("Reshape", [INPUTS[2], windows], [f"{name}_cut"]),
                    helper.make_node(
                        "Transpose", [f"{name}_cut"], [f"{name}_near"], perm=[0, 1, 3, 2, 4, 5]
                    ),
                    helper.make_node("Reshape", [f"{name}_near", flat], [f"{name}_bytes"]),
                    helper.make_node(
                        "Cast",
                        [f"{name}_bytes"],
                        [f"{name}_pixels"],
                        _PATCHES,
                        to=TensorProto.FLOAT,
                    ),
                    helper.make_node(
                        "MatMul", [f"{name}_pixels", f"{name}_weight"], [f"{name}_product"]
                    ),
                    helper.make_node("Add", [f"{name}_product", f"{name}_bias"], [f"{name}_nhwc"]),
                    helper.make_node("Transpose", [f"{name}_nhwc"], [name], perm=[0, 3, 1, 2]),
                ]
            }
        )
        drop_unread(graph)
        return


def reads_patches(graph: Graph, name: str) -> bool:
    """Whether a tensor is bytes, cast to float."""
    maker = graph.makers.get(name)
    return maker is not None and maker.name == _PATCHES


def _affine_of_pixels(graph: Graph, name: str) -> tuple[Floats, Floats] | None:
    """(slope, offset), float32 [3]: how the tensor ``name`` is made of the pixels' channels.

    None where it is made in another way.
    """
    steps: list[tuple[str, Floats]] = []
    transposed = False
    while name != INPUTS[2]:
        node = graph.makers.get(name)
        if node is None:
            return None
        if node.op_type in ("Div", "Mul", "Sub", "Add") and node.input[1] in graph.weights:
            value = graph.value(node.input[1]).reshape(-1)
            if value.size not in (1, 3):
                return None
            steps.append((node.op_type, np.broadcast_to(value, 3)))
        elif node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 3, 1, 2]:
            transposed = True
        elif node.op_type != "Cast":
            return None
        name = node.input[0]
    if not transposed:
        return None
    slope, offset = np.ones(3), np.zeros(3)
    for operator, value in reversed(steps):
        if operator in ("Div", "Mul"):
            factor = 1 / value if operator == "Div" else value
            slope, offset = slope * factor, offset * factor
        else:
            offset = offset + (value if operator == "Add" else -value)
    return slope.astype(np.float32), offset.astype(np.float32)

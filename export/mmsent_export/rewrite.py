"""Rewrite a graph: find the nodes that write and read a tensor, and change weights."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mmsent.bundle.info import INPUTS

Floats = npt.NDArray[np.float32]
Nodes = list[NodeProto]


@dataclass
class Graph:
    """A model's graph, indexed by tensor name; changes apply to ``model``."""

    model: ModelProto
    weights: dict[str, TensorProto] = field(init=False)
    makers: dict[str, NodeProto] = field(init=False)
    readers: dict[str, Nodes] = field(init=False)
    outputs: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = {weight.name: weight for weight in self.model.graph.initializer}
        self.makers = {name: node for node in self.model.graph.node for name in node.output}
        self.readers = {}
        for node in self.model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in self.model.graph.output}

    def value(self, name: str) -> Floats:
        """The values of a weight."""
        return numpy_helper.to_array(self.weights[name])

    def put(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        """Set the values of a new or existing weight; returns its name."""
        if name not in self.weights:
            self.weights[name] = self.model.graph.initializer.add()
        self.weights[name].CopyFrom(numpy_helper.from_array(np.asarray(value), name))
        return name

    def replace(self, nodes: dict[str, Nodes]) -> None:
        """Replace each node whose first output is a key; then drop nodes that nothing reads."""
        present = self.model.graph.node
        assign(present, [new for node in present for new in nodes.get(node.output[0], [node])])
        self.__post_init__()
        read = {*self.readers, *self.outputs}
        unread = {node.output[0]: Nodes() for node in present if read.isdisjoint(node.output)}
        if unread:
            self.replace(unread)


def make_node(operator: str, *inputs: str, out: str, name: str = "", **options: Any) -> NodeProto:
    """A node with one output."""
    return helper.make_node(operator, inputs, [out], name, **options)


def assign(field: Any, values: list[Any]) -> None:
    """Replace all elements of a repeated protobuf ``field``."""
    del field[:]
    field.extend(values)


def image_size(model: ModelProto) -> int:
    """The height and width of a graph's images, in pixels."""
    pixels = next(value for value in model.graph.input if value.name == INPUTS[2])
    size: int = pixels.type.tensor_type.shape.dim[1].dim_value
    return size

"""A graph while it is being rewritten: who makes a tensor, who reads it, what a weight holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Floats = npt.NDArray[np.float32]


@dataclass
class Graph:
    """A graph while it is being rewritten; ``weights`` and ``readers`` are by tensor name."""

    model: onnx.ModelProto
    weights: dict[str, onnx.TensorProto] = field(init=False)
    makers: dict[str, onnx.NodeProto] = field(init=False)
    readers: dict[str, list[onnx.NodeProto]] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = {weight.name: weight for weight in self.model.graph.initializer}
        self.makers = {name: node for node in self.model.graph.node for name in node.output}
        self.readers = {}
        for node in self.model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def value(self, name: str) -> Floats:
        """The numbers of a weight."""
        return numpy_helper.to_array(self.weights[name])

    def put(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        """Set the numbers of a new or old weight; returns its name."""
        tensor = numpy_helper.from_array(np.asarray(value), name)
        if name in self.weights:
            self.weights[name].CopyFrom(tensor)
        else:
            self.weights[name] = self.model.graph.initializer.add()
            self.weights[name].CopyFrom(tensor)
        return name

    def replace(self, nodes: dict[str, list[onnx.NodeProto]]) -> None:
        """Put other nodes in the place of some, which are given by their first output."""
        old = list(self.model.graph.node)
        new = [node for was in old for node in nodes.get(was.output[0], [was])]
        del self.model.graph.node[:]
        self.model.graph.node.extend(new)
        self.__post_init__()


def drop_unread(graph: Graph) -> None:
    """Take out nodes whose outputs nobody reads any more."""
    outputs = {output.name for output in graph.model.graph.output}
    while unread := {
        node.output[0]: list[onnx.NodeProto]()
        for node in graph.model.graph.node
        if not any(name in graph.readers or name in outputs for name in node.output)
    }:
        graph.replace(unread)

"""Simplify a graph: fold constants, and remove identities and computed shapes.

ONNX Runtime's basic optimisations stay within standard ONNX and suit every machine. It adds layouts
and fused operators when it opens the bundle, in 0.1 s on a CPU. Adding them here would tie the file
to one processor and one runtime.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from mmsent_export.patches import patches_as_linear
from mmsent_export.rewrite import Graph, assign, image_size
from mmsent_export.session import make_feed, open_session


def simplify(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same function in fewer nodes of the same opset. Modifies ``graph``."""
    _fix_paddings(graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        open_session(graph, options)
        simplified = onnx.load(path)
    patches_as_linear(Graph(simplified))
    tidy(simplified)
    return simplified


def _fix_paddings(model: onnx.ModelProto) -> None:
    """Replace paddings that are computed from constant sizes by constants.

    ONNX Runtime then merges them with the following convolutions. Otherwise an operator between two
    convolutions would read a shape, and the data would have to leave their fast layout.
    """
    nodes, constants = model.graph.node, {weight.name for weight in model.graph.initializer}
    names = sorted({node.input[1] for node in nodes if node.op_type == "Pad"} - constants)
    if not names:
        return
    session, size = open_session(model, probes=names), image_size(model)
    found = []
    for batch, tokens in ((1, 2), (3, 5)):
        pixels = np.zeros((batch, size, size, 3), np.uint8)
        found.append(session.run(names, make_feed([[1] * tokens] * batch, pixels)))
    fixed = {n: one for n, one, other in zip(names, *found) if np.array_equal(one, other)}
    for node in nodes:
        if fixed.keys() & set(node.output):
            node.output[:] = [f"{name}.computed" for name in node.output]
    model.graph.initializer.extend(numpy_helper.from_array(fixed[name], name) for name in fixed)
    Graph(model).replace({})  # drop the nodes that are no longer used


def tidy(model: onnx.ModelProto) -> None:
    """Remove unused domains, unused weights and inferred shapes; then check the graph in full."""
    graph = model.graph
    domains = {node.domain for node in graph.node} | {""}
    assign(model.opset_import, [item for item in model.opset_import if item.domain in domains])
    used = {name for node in graph.node for name in node.input}
    assign(graph.initializer, [weight for weight in graph.initializer if weight.name in used])
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)

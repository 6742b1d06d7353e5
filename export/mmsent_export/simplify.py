"""A graph without what costs time and does nothing: constants folded, shapes and identities gone.

ONNX Runtime's own basic optimisations, which stay within standard ONNX and suit every machine.
What goes further, layouts and fused operators, ONNX Runtime does when it opens the bundle: it takes
0.1 s of a CPU, and would tie the file to one processor and to one runtime.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from mmsent.bundle.info import INPUTS
from mmsent_export.patches import patches_as_linear
from mmsent_export.rewrite import Graph, drop_unread


def simplify(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same function as ``graph`` in fewer nodes, of the same opset."""
    _fix_paddings(graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simplified = onnx.load(path)
    patches_as_linear(Graph(simplified))
    tidy(simplified)
    onnx.checker.check_model(simplified, full_check=True)
    return simplified


def _fix_paddings(graph: onnx.ModelProto) -> None:
    """Make constants of paddings that are computed from sizes which never change.

    ONNX Runtime then merges them with the convolutions that follow, and no operator asks for the
    shape of what lies between two convolutions, which would have to leave its fast layout for that.
    """
    nodes, constants = graph.graph.node, {weight.name for weight in graph.graph.initializer}
    names = sorted({node.input[1] for node in nodes if node.op_type == "Pad"} - constants)
    if not names:
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [None]) for name in names
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    pixels = next(value for value in graph.graph.input if value.name == INPUTS[2])
    shape = [axis.dim_value for axis in pixels.type.tensor_type.shape.dim][1:]
    found = []
    for batch, tokens in ((1, 2), (3, 5)):
        ids = np.ones((batch, tokens), np.int64)
        feed = {INPUTS[0]: ids, INPUTS[1]: ids, INPUTS[2]: np.zeros((batch, *shape), np.uint8)}
        found.append(session.run(names, feed))
    fixed = {n: one for n, one, other in zip(names, *found) if np.array_equal(one, other)}
    for node in nodes:
        if fixed.keys() & set(node.output):
            node.output[:] = [f"{name}.computed" for name in node.output]
    graph.graph.initializer.extend(numpy_helper.from_array(fixed[name], name) for name in fixed)
    drop_unread(Graph(graph))


def tidy(graph: onnx.ModelProto) -> None:
    """Take out what ``graph`` declares and does not use: domains, weights, inferred shapes."""
    domains = {node.domain for node in graph.graph.node} | {""}
    opsets = [opset for opset in graph.opset_import if opset.domain in domains]
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    used = {name for node in graph.graph.node for name in node.input}
    weights = [weight for weight in graph.graph.initializer if weight.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(weights)
    del graph.graph.value_info[:]

"""A graph without what costs time and does nothing: constants folded, shapes and identities gone.

ONNX Runtime's own basic optimisations, which stay within standard ONNX and suit every machine.
What goes further, layouts and fused operators, ONNX Runtime does when it opens the bundle: it takes
0.1 s of a CPU, and would tie the file to one processor and to one runtime.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort


def simplify(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same function as ``graph`` in fewer nodes, of the same opset."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simplified = onnx.load(path)
    tidy(simplified)
    onnx.checker.check_model(simplified, full_check=True)
    return simplified


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

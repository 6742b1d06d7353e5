"""Run a graph with ONNX Runtime on the CPU."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from mmsent.bundle.info import INPUTS
from mmsent.bundle.session import CPU
from mmsent.inputs.text import pad_ids

Feed = dict[str, npt.NDArray[Any]]
"""The inputs of a graph, by name; see `mmsent.bundle.info`."""


def open_session(
    graph: onnx.ModelProto, options: ort.SessionOptions | None = None, *, probes: Sequence[str] = ()
) -> ort.InferenceSession:
    """A session that logs only errors; the tensors ``probes`` become additional outputs."""
    if probes:
        graph = deepcopy(graph)
        graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in probes)
    options = options or ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(graph.SerializeToString(), options, providers=[CPU])


def make_feed(ids: Sequence[Sequence[int]], pixels: npt.NDArray[np.uint8]) -> Feed:
    """The inputs of some pairs, from unpadded token ids and uint8 [pairs, size, size, 3]."""
    return dict(zip(INPUTS, (*pad_ids(ids), pixels)))

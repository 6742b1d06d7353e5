"""fp16: half the size, and what GPUs compute fastest in.

On a CPU, which has no kernels for it, ONNX Runtime computes in fp32: it unpacks the weights once,
when it opens the bundle, and answers as fast as an fp32 bundle.
"""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from mmsent_export.simplify import tidy

# Sums of squares leave fp16's range (65504), and probabilities would be rounded to 3 digits.
FP32_OPERATORS = ["ReduceL2", "Softmax"]


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """``graph`` (fp32) with weights and computation in fp16, its inputs and outputs as before."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # the conversion alters what it is given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of every weight beyond fp16's smallest number
        half: onnx.ModelProto = convert_float_to_float16(
            copy, keep_io_types=True, op_block_list=FP32_OPERATORS
        )
    OnnxModel(half).topological_sort()
    tidy(half)
    onnx.checker.check_model(half, full_check=True)
    return half

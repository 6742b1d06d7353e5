"""fp16: half the size, and what GPUs compute fastest in.

CPUs have no kernels for it: there ONNX Runtime unpacks the weights when it opens the bundle, and
computes in fp32, as fast as with an fp32 bundle.
"""

import warnings
from copy import deepcopy

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from mmsent_export.simplify import tidy

# Sums of squares exceed fp16's range (65504), and probabilities would be rounded to 3 digits.
FP32_OPERATORS = ["ReduceL2", "Softmax"]


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """``graph`` (fp32) with weights and computation in fp16, its inputs and outputs as before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every weight below fp16's smallest number
        half: onnx.ModelProto = convert_float_to_float16(
            deepcopy(graph), keep_io_types=True, op_block_list=FP32_OPERATORS
        )
    OnnxModel(half).topological_sort()
    tidy(half)
    return half

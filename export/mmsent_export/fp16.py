"""fp16: half the size, and fast on GPUs.

CPUs have no fp16 kernels. There, ONNX Runtime unpacks the weights when it opens the bundle, and
computes in fp32, as fast as with an fp32 bundle.
"""

import warnings
from copy import deepcopy

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from mmsent_export.simplify import tidy

# Sums of squares exceed the range of fp16 (65504), which also keeps only 3 digits of a probability.
FP32_OPERATORS = ["ReduceL2", "Softmax"]


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """``graph`` with weights and computation in fp16, and the same inputs and outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight below the smallest fp16 number
        half: onnx.ModelProto = convert_float_to_float16(
            deepcopy(graph), keep_io_types=True, op_block_list=FP32_OPERATORS
        )
    OnnxModel(half).topological_sort()
    tidy(half)
    return half

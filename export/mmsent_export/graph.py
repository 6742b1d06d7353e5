"""From a trained PyTorch model to an ONNX graph with a bundle's inputs and outputs."""

import inspect
import io
import warnings
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmsent.bundle.info import INPUTS, OUTPUTS
from mmsent_export.rewrite import assign

OPSET = 17


class _WithProbabilities(nn.Module):
    """A model that also returns the probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(*inputs)
        return logits, torch.softmax(logits, dim=1)


def to_onnx(model: nn.Module, *, image_size: int) -> onnx.ModelProto:
    """Export ``model``, which takes a bundle's inputs and returns its logits, with fp32 weights.

    Batch and length stay dynamic. Attention layers of transformers are set to "eager".
    """
    ids = torch.tensor([[1, 2, 3], [1, 2, 0]])
    pixels = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    axes = {name: {0: "batch"} for name in (*INPUTS, *OUTPUTS)}
    for name in INPUTS[:2]:
        axes[name][1] = "tokens"
    # The TorchScript exporter: the newer one can't export a packed sequence.
    parameters = inspect.signature(torch.onnx.export).parameters
    chosen: dict[str, Any] = {"dynamo": False} if "dynamo" in parameters else {}
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            # Attention as plain matrix products, which ONNX Runtime fuses again; torch 2.4 can't
            # export PyTorch's fused attention.
            module.set_attn_implementation("eager")
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # It warns about its deprecation, traced shapes and GRUs with a fixed batch. The tests and
        # the verification show that these graphs are not affected.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _WithProbabilities(model).eval(),
            (ids, ids.clamp(max=1), pixels),
            file,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=True,
            **chosen,
        )
    graph = onnx.load_from_string(file.getvalue())
    # The exporter drops the inputs that a model ignores; a bundle has them all.
    declare, size = onnx.helper.make_tensor_value_info, image_size
    inputs = [declare(name, TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS[:2]]
    inputs.append(declare(INPUTS[2], TensorProto.UINT8, ["batch", size, size, 3]))
    kept = {value.name: value for value in graph.graph.input}
    assign(graph.graph.input, [kept.get(value.name, value) for value in inputs])
    return graph

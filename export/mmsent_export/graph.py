"""From a trained PyTorch model to an ONNX graph with a bundle's inputs and outputs."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmsent.bundle.info import INPUTS, OUTPUTS

OPSET = 17


class _WithProbabilities(nn.Module):
    """A model whose second output are the probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = self.model(input_ids, attention_mask, pixels)
        return logits, torch.softmax(logits, dim=1)


def to_onnx(model: nn.Module, *, image_size: int) -> onnx.ModelProto:
    """Export ``model``, which takes and gives what `mmsent.bundle` tells, with fp32 weights.

    Batch and length stay dynamic. The graph is checked by onnx.checker, with full checks.
    """
    example = (
        torch.tensor([[1, 2, 3], [1, 2, 0]]),
        torch.tensor([[1, 1, 1], [1, 1, 0]]),
        torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8),
    )
    axes = {
        "input_ids": {0: "batch", 1: "tokens"},
        "attention_mask": {0: "batch", 1: "tokens"},
        "pixels": {0: "batch"},
        "logits": {0: "batch"},
        "probabilities": {0: "batch"},
    }
    # The TorchScript exporter: the newer one can't export a packed sequence.
    arguments = inspect.signature(torch.onnx.export).parameters
    chosen: dict[str, Any] = {"dynamo": False} if "dynamo" in arguments else {}
    # It can't check CLIP's two towers, and says so; both are known to have eager attention.
    logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            # Attention as plain matrix products, which ONNX Runtime fuses again by itself; the
            # exporter of torch 2.4 fails on PyTorch's fused one.
            module.set_attn_implementation("eager")
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # It warns of itself, of every traced shape, and of GRUs with a fixed batch: tests and the
        # verification hold that none of that concerns these graphs.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            _WithProbabilities(model).eval(),
            example,
            file,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=True,
            **chosen,
        )
    graph = onnx.load_from_string(file.getvalue())
    _declare_inputs(graph, image_size)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _declare_inputs(graph: onnx.ModelProto, image_size: int) -> None:
    """Give the graph every input of a bundle: the exporter drops those that a model ignores."""
    kept = {value.name: value for value in graph.graph.input}
    shapes: dict[str, tuple[int, list[str | int]]] = {
        name: (onnx.TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS[:2]
    }
    shapes[INPUTS[2]] = (onnx.TensorProto.UINT8, ["batch", image_size, image_size, 3])
    inputs = [
        kept.get(name) or onnx.helper.make_tensor_value_info(name, *shapes[name]) for name in INPUTS
    ]
    del graph.graph.input[:]
    graph.graph.input.extend(inputs)

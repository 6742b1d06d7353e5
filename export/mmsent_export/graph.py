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

from mmsent.bundle.info import EMBEDDING, INPUTS, OUTPUTS
from mmsent.errors import InputError
from mmsent_export.rewrite import assign
from mmsent_training.models.recipe import Fused

OPSET = 17


class WithOutputs(nn.Module):
    """A model that returns all outputs of a bundle: logits, probabilities and, if wanted, features.

    Raises InputError if ``embeddings`` are wanted, and the model does not mark them as `Fused`.
    """

    def __init__(self, model: nn.Module, *, embeddings: bool) -> None:
        super().__init__()
        self.model = model
        self.marks = [module for module in model.modules() if isinstance(module, Fused)]
        if embeddings and len(self.marks) != 1:
            raise InputError("this model has no embeddings; export it without --embeddings")
        self.embeddings = embeddings

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.embeddings:
            logits = self.model(*inputs)
            return logits, torch.softmax(logits, dim=1)
        found: list[Tensor] = []
        hook = self.marks[0].register_forward_hook(
            lambda module, inputs, output: found.append(output)
        )
        logits = self.model(*inputs)
        hook.remove()
        return logits, torch.softmax(logits, dim=1), found[0]


def to_onnx(model: nn.Module, *, image_size: int, embeddings: bool = False) -> onnx.ModelProto:
    """Export ``model``, which takes a bundle's inputs and returns its logits, with fp32 weights.

    Batch and length stay dynamic. Attention layers of transformers are set to "eager".
    ``embeddings``: whether to add them as an output; see `WithOutputs`.
    """
    ids = torch.tensor([[1, 2, 3], [1, 2, 0]])
    pixels = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    outputs = (*OUTPUTS, EMBEDDING) if embeddings else OUTPUTS
    axes = {name: {0: "batch"} for name in (*INPUTS, *outputs)}
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
    complete = WithOutputs(model, embeddings=embeddings).eval()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # It warns about its deprecation, traced shapes and GRUs with a fixed batch. The tests and
        # the verification show that these graphs are not affected.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            complete,
            (ids, ids.clamp(max=1), pixels),
            file,
            input_names=list(INPUTS),
            output_names=list(outputs),
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
    if embeddings:  # the exporter does not always know their number of features
        with torch.no_grad():
            features = complete(ids, ids.clamp(max=1), pixels)[2].shape[1]
        output = declare(EMBEDDING, TensorProto.FLOAT, ["batch", features])
        assign(graph.graph.output, [*graph.graph.output[:2], output])
    return graph

"""A frozen convolutional encoder in ONNX Runtime: on a CPU, it is faster than PyTorch."""

import inspect
import io
import warnings
from typing import Any

import onnxruntime as ort
import torch
from torch import Tensor, nn

OPSET = 17


class OnnxEncoder(nn.Module):
    """What ``encoder`` computes on the CPU; both may differ by rounding.

    It is exported when it sees the first inputs, whose dimensions it keeps but for the batch's.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.session: ort.InferenceSession | None = None

    def forward(self, scaled: Tensor) -> Tensor:
        """``scaled``: float [batch, 3, height, width]. Returns the encoder's single output."""
        if self.session is None:
            self.session = _open(self.encoder, scaled.shape)
        [output] = self.session.run(None, {"scaled": scaled.contiguous().numpy()})
        return torch.from_numpy(output)


def _open(encoder: nn.Module, shape: torch.Size) -> ort.InferenceSession:
    parameters = inspect.signature(torch.onnx.export).parameters
    chosen: dict[str, Any] = {"dynamo": False} if "dynamo" in parameters else {}
    file = io.BytesIO()
    # A tensor of inference mode can't be traced.
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # its own deprecation, and traced shapes
        torch.onnx.export(
            encoder,
            (torch.zeros(2, *shape[1:]),),
            file,
            input_names=["scaled"],
            output_names=["output"],
            dynamic_axes={"scaled": {0: "batch"}, "output": {0: "batch"}},
            opset_version=OPSET,
            **chosen,
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only; they are also raised
    # Spinning threads would take the cores that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

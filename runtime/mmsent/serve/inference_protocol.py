"""The Open Inference Protocol, version 2, which KServe's and Triton's clients use.

https://github.com/kserve/open-inference-protocol, with the extension for binary tensors,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.

inputs   text           BYTES [n] or [n, 1]   UTF-8
         image          BYTES [n] or [n, 1]   a file's bytes (base64 in JSON); empty: missing
outputs  label          BYTES [n]
         probabilities  FP32  [n, labels]
         logits         FP32  [n, labels]

If an input is left out, it is missing in every pair.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsent.data.pair import Pair
from mmsent.files.console import to_json
from mmsent.predict.batches import Prediction
from mmsent.serve.models import Loaded
from mmsent.serve.payload import MAX_PAIRS, decode_image, make_pair, read_json, refused
from mmsent.serve.problems import HTTPProblem

EXTENSIONS = ("binary_tensor_data",)
HEADER_LENGTH = "inference-header-content-length"
"""The header with the size of the JSON in bytes; binary tensors follow it."""

INPUTS = ("text", "image")
OUTPUTS = ("label", "probabilities", "logits")
_LENGTH = struct.Struct("<I")  # before each element of a binary BYTES tensor


@dataclass(frozen=True)
class InferRequest:
    """An inference request; ``outputs``: the requested names, and whether each is binary."""

    pairs: list[Pair]
    outputs: Mapping[str, bool]
    id: str | None


def model_metadata(model: Loaded) -> dict[str, Any]:
    """The protocol's metadata of a model."""
    labels = list(model.on_one_core.labels)
    outputs: list[dict[str, Any]] = [{"name": "label", "datatype": "BYTES", "shape": [-1]}]
    outputs += [
        {"name": name, "datatype": "FP32", "shape": [-1, len(labels)]} for name in OUTPUTS[1:]
    ]
    return {
        "name": model.name,
        "versions": [model.sha256],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS],
        "outputs": outputs,
        "parameters": {
            "labels": labels,
            "optional": list(model.on_one_core.info.optional),
            "resize": model.on_one_core.info.image.resize,
            "sha256": model.sha256,
        },
    }


def read_request(body: bytes, header_length: str | None) -> InferRequest:
    """Parse a request in JSON or, if ``header_length`` is given, with binary tensors after it.

    Raises HTTPProblem: 400 if it is malformed, 422 if a text or an image is invalid.
    """
    length = len(body)
    if header_length is not None:
        digits = header_length.lstrip("0") or "0"  # int() takes at most 4,300 digits
        if not header_length.isdecimal() or int(digits[:20]) > len(body):
            raise HTTPProblem(400, "Inference-Header-Content-Length is not the length of the JSON")
        length = int(digits)
    content = _object(read_json(body[:length]), "the request")
    given = _list(content.get("inputs"), "inputs")
    tensors: dict[str, Sequence[Any]] = {}
    rest = memoryview(body)[length:]
    binary: set[str] = set()
    for value in given:
        tensor = _object(value, "an input")
        name = tensor.get("name")
        if name not in INPUTS or name in tensors:
            raise HTTPProblem(400, "the inputs are text and image, each at most once")
        size = _object(tensor.get("parameters", {}), "parameters").get("binary_data_size")
        if size is None:
            tensors[name] = _json_elements(name, tensor)
        else:
            if type(size) is not int or not 0 <= size <= len(rest):
                raise HTTPProblem(400, f"{name}: binary_data_size is not the size of its data")
            tensors[name] = _binary_elements(name, tensor, rest[:size])
            rest = rest[size:]
            binary.add(name)
    if len(rest):
        raise HTTPProblem(400, f"{len(rest)} extra bytes after the last binary tensor")
    identity = content.get("id")
    if not isinstance(identity, str | None):
        raise HTTPProblem(400, "id must be a string")
    return InferRequest(_pairs(tensors, binary), _outputs(content), identity)


def response_body(
    model: Loaded, request: InferRequest, predictions: Sequence[Prediction]
) -> tuple[bytes, int | None]:
    """The answer, and the length of its JSON if binary tensors follow it."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, as_binary in request.outputs.items():
        if name == "label":
            values: Any = [prediction.label for prediction in predictions]
            shape, kind = [len(predictions)], "BYTES"
            raw = b"".join(_LENGTH.pack(len(label.encode())) + label.encode() for label in values)
        else:
            rows = [list(getattr(prediction, name).values()) for prediction in predictions]
            array = np.array(rows, "<f4")
            values, shape, kind = array.ravel().tolist(), list(array.shape), "FP32"
            raw = array.tobytes()
        output: dict[str, Any] = {"name": name, "datatype": kind, "shape": shape}
        if as_binary:
            output["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            output["data"] = values
        outputs.append(output)
    content = {"model_name": model.name, "model_version": model.sha256, "outputs": outputs}
    if request.id is not None:
        content["id"] = request.id
    text = to_json(content).encode()
    if not binary:
        return text, None
    return b"".join([text, *binary]), len(text)


def _pairs(tensors: Mapping[str, Sequence[Any]], binary: set[str]) -> list[Pair]:
    counts = {len(elements) for elements in tensors.values()}
    if len(counts) != 1:
        raise HTTPProblem(
            400, "there must be at least one input, and all must have the same number of elements"
        )
    count = counts.pop()
    if not 1 <= count <= MAX_PAIRS:
        raise HTTPProblem(400, f"a request must have 1 to {MAX_PAIRS} pairs, not {count}")
    pairs = []
    for index in range(count):
        text: Any = tensors["text"][index] if "text" in tensors else None
        image: Any = tensors["image"][index] if "image" in tensors else None
        if "text" in binary:
            try:
                text = bytes(text).decode()
            except UnicodeDecodeError:
                raise refused(index, "the text is not UTF-8") from None
        if "image" not in binary:
            image = decode_image(index, image)
        pairs.append(make_pair(index, text, bytes(image) if image else None))
    return pairs


def _outputs(content: Mapping[str, Any]) -> Mapping[str, bool]:
    """The names of the requested outputs, and whether each is binary."""
    parameters = _object(content.get("parameters", {}), "parameters")
    binary = parameters.get("binary_data_output", False) is True
    wanted = content.get("outputs")
    if wanted is None:
        return dict.fromkeys(OUTPUTS, binary)
    outputs = {}
    for value in _list(wanted, "outputs"):
        output = _object(value, "an output")
        name = output.get("name")
        if name not in OUTPUTS:
            raise HTTPProblem(400, f"the outputs are {', '.join(OUTPUTS)}")
        parameters = _object(output.get("parameters", {}), "parameters")
        if "classification" in parameters:
            raise HTTPProblem(400, "the classification extension is not supported")
        outputs[name] = parameters.get("binary_data", binary) is True
    return outputs or dict.fromkeys(OUTPUTS, binary)


def _json_elements(name: str, tensor: Mapping[str, Any]) -> Sequence[Any]:
    """The elements of a JSON tensor, which may be nested like its shape."""
    count = _count(name, tensor)
    elements: list[Any] = []
    for item in _list(tensor.get("data"), f"{name}: data"):
        elements += item if isinstance(item, list) else [item]
    if len(elements) != count or not all(isinstance(item, str) for item in elements):
        raise HTTPProblem(400, f"{name}: data must have as many strings as its shape says")
    return elements


def _binary_elements(
    name: str, tensor: Mapping[str, Any], data: memoryview
) -> Sequence[memoryview]:
    """The elements of a binary tensor, each with its length before it."""
    count = _count(name, tensor)
    elements: list[memoryview] = []
    while len(data) >= _LENGTH.size and len(elements) < count:
        (size,) = _LENGTH.unpack_from(data)
        if _LENGTH.size + size > len(data):
            break
        elements.append(data[_LENGTH.size : _LENGTH.size + size])
        data = data[_LENGTH.size + size :]
    if len(data) or len(elements) != count:
        raise HTTPProblem(
            400, f"{name}: the binary data must have as many elements as its shape says"
        )
    return elements


def _count(name: str, tensor: Mapping[str, Any]) -> int:
    """The number of elements of a tensor of shape [n] or [n, 1]. Raises HTTPProblem 400."""
    if tensor.get("datatype") != "BYTES":
        raise HTTPProblem(400, f"{name}: its datatype must be BYTES")
    shape = _list(tensor.get("shape"), f"{name}: shape")
    sound = all(type(edge) is int and edge >= 0 for edge in shape)
    if not shape or not sound or shape[1:] not in ([], [1]):
        raise HTTPProblem(400, f"{name}: its shape must be [n] or [n, 1]")
    return int(shape[0])


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise HTTPProblem(400, f"{what} must be an object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise HTTPProblem(400, f"{what} must be a list")
    return value

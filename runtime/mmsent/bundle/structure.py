"""Check the structure of an ONNX file before ONNX Runtime opens it.

The check skips the tensors' data, so hundreds of megabytes take milliseconds. The numbers are field
numbers in onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The encoding of
fields: https://protobuf.dev/programming-guides/encoding/.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from mmsent.errors import InputError
from mmsent.files.bounded import open_file

MAX_BYTES = (1 << 31) - 1
"""Larger files are refused; protobuf does not support them."""
MAX_METADATA = 1 << 26
"""Files with more bytes of metadata are refused."""
MAX_FIELDS = 1_000_000
"""Files with more fields (nodes, initializers and their parts) are refused."""

# Loops may never end, and none of our models has one.
REFUSED_OPERATORS = (b"Loop", b"Scan")

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_MODEL_KNOWN = frozenset(range(1, 9)) | {_MODEL_METADATA}  # not training_info (20), functions (25)
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14

# Fields of a message that hold other messages: field -> kind.
_GRAPH = {1: "node", 5: "tensor", 15: "sparse"}
_ATTRIBUTE = {5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse"}
_PARTS = {
    "graph": _GRAPH,
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": _ATTRIBUTE,
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def check_structure(source: Path | bytes, name: str) -> None:
    """Raise InputError if ``source``, a file or its bytes, is not an ONNX model or is unsafe.

    A model is unsafe if it keeps tensors in other files, has loops or functions, or has more than
    MAX_METADATA bytes of metadata. Messages call the model ``name``.
    """
    if isinstance(source, bytes):
        _check_size(len(source), name)
        _walk(source, len(source), name)
        return
    with open_file(source, name) as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(size, name)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _walk(content, size, name)


def _check_size(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise InputError(f"{name} is larger than 2 GiB, the maximum size of an ONNX model")
    if size == 0:
        raise InputError(f"{name} is empty; it can't be opened as an ONNX model")


def _walk(content: mmap.mmap | bytes, size: int, name: str) -> None:
    try:
        _Walk(content).model(size)
    except ValueError as error:
        raise InputError(f"{name} can't be opened as an ONNX model ({error})") from None


class _Walk:
    """Walks over a file's fields; raises ValueError if the file is malformed or unsafe."""

    def __init__(self, content: mmap.mmap | bytes) -> None:
        self.content = content
        self.fields = 0

    def model(self, size: int) -> None:
        metadata = 0
        for number, begin, end in self.read(0, size):
            if number not in _MODEL_KNOWN:
                raise ValueError(f"it has the field {number}, which no bundle has")
            if number == _MODEL_GRAPH:
                self.message("graph", begin, end, depth=0)
            else:
                metadata += end - begin
        if metadata > MAX_METADATA:
            raise ValueError(f"it has {metadata} bytes of metadata, more than {MAX_METADATA}")

    def message(self, kind: str, begin: int, end: int, *, depth: int) -> None:
        """Check a message of a kind, and the messages in it."""
        if depth > 50:
            raise ValueError("its graphs are nested too deeply")
        parts = _PARTS[kind]
        for number, first, last in self.read(begin, end):
            if kind == "tensor" and number in (_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION):
                if (
                    number == _TENSOR_DATA_LOCATION
                    and last == first + 1
                    and not self.content[first]
                ):
                    continue  # 0: in this file
                raise ValueError("it keeps tensors in other files, but a bundle is one file")
            if kind == "node" and number == _NODE_OPERATOR:
                operator = self.content[first:last]
                if operator in REFUSED_OPERATORS:
                    raise ValueError(
                        f"it has the operator {operator.decode()}, which no bundle has"
                    )
            inner = parts.get(number)
            if inner == "node" and not self.suspicious(first, last):
                continue
            if inner is not None:
                self.message(inner, first, last, depth=depth + 1)

    def suspicious(self, begin: int, end: int) -> bool:
        """Whether a node needs a walk; a search is faster.

        External data have their file name under the key "location".
        """
        words = (b"location", *REFUSED_OPERATORS)
        return any(self.content.find(word, begin, end) >= 0 for word in words)

    def read(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The fields between two offsets: number, and start and end of the value."""
        place = begin
        while place < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS} fields")
            tag, place = self.varint(place, end)
            if tag >> 32:  # ONNX Runtime ignores these bits, so it would read another field
                raise ValueError("it is not a protobuf message")
            wire = tag & 7
            if wire == 2:
                length, place = self.varint(place, end)
                stop = place + length
            elif wire == 0:
                _, stop = self.varint(place, end)
            elif wire in (1, 5):
                stop = place + (8 if wire == 1 else 4)
            else:
                raise ValueError("it is not a protobuf message")
            if stop > end:
                raise ValueError("it is truncated")
            yield tag >> 3, place, stop
            place = stop

    def varint(self, place: int, end: int) -> tuple[int, int]:
        """The number at the offset ``place``, and the offset after it."""
        value = shift = 0
        while place < end and shift < 70:
            byte = self.content[place]
            value |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                return value, place
        raise ValueError("it is truncated")

"""Files that are not bundles."""

import os

import numpy as np
import pytest

from .cases import refused


@pytest.mark.parametrize("share", np.linspace(0, 0.99, 24).round(2))
def test_a_truncated_bundle(run_command, dataset, share):
    data = (dataset / "model.onnx").read_bytes()
    (dataset / "model.onnx").write_bytes(data[: int(len(data) * share)])
    refused(run_command, dataset, "model.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95(cos\nsystem\n(S'id'\ntR.", b"PK\x03\x04", b"\x08\x07" * 999, b"{}", b"ORTM",
        b"\x18\x00\x00\x00ORTM" + b"\x00" * 64, b"\xff" * 999, b"\x00" * 999,
        b"\x3a\xff\xff\xff\xff\x0f", b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b" * 99,
        b"\x80" * 99, b"<html>", b"7\n",
    ],
    ids=range(14),
)  # fmt: skip
def test_not_a_bundle(run_command, dataset, content):
    (dataset / "model.onnx").write_bytes(content)
    refused(run_command, dataset, "model.onnx")


@pytest.mark.parametrize("size", [1 << 31, 1 << 36], ids=["2 GiB", "64 GiB"])
def test_an_enormous_bundle(run_command, dataset, size):
    """Sparse files take no space on disk."""
    os.truncate(dataset / "model.onnx", size)
    refused(run_command, dataset, "larger than 2 GiB")

"""ONNX Runtime: the real one on the CPU, imitations of what GPU machines answer."""

from __future__ import annotations

import numpy as np
import pytest
from doctor_machine import Machine, NvidiaSmi

from mmsent.doctor.probes import MODEL

IMITATION = """
import sys, types
__version__ = "1.22.0"
cuda_version = "12.8"
def get_available_providers():
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]
def preload_dlls():
    pass
class InferenceSession:
    def __init__(self, model, providers):
        if providers[0].startswith("CUDA"):
            sys.stderr.write({words!r})
    def get_providers(self):
        return ["CPUExecutionProvider"]
    def run(self, outputs, feed):
        import numpy as np
        return [np.asarray([[4, 5], [10, {last}]], np.float32)]
"""

WORDS = (
    "[E:onnxruntime:Default, provider_bridge_ort.cc:2195 TryGetProviderInfo_CUDA] "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
    "libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open shared object file: "
    "No such file or directory\n"
    "[W:onnxruntime:Default, onnxruntime_pybind_state.cc:1055 CreateExecutionProviderInstance] "
    "Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 12.*.\n"
)


def _imitate(machine: Machine, last: int = 11) -> None:
    source = IMITATION.format(words=WORDS, last=last)
    machine.library("onnxruntime", source, name="onnxruntime-gpu", version="1.22.0")


def test_the_real_one_computes_correctly(machine: Machine) -> None:
    assert machine.doctor().finding("onnxruntime-provider")["what"] == "CPU computes correctly"


def test_the_small_model_is_what_the_onnx_package_writes() -> None:
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.array([[1, 0], [0, 1], [1, 1]], np.float32), "w")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "doctor",
        [helper.make_tensor_value_info("x", kind, ["n", 3])],
        [helper.make_tensor_value_info("y", kind, ["n", 2])],
        [weight],
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    assert onnx.load_from_string(MODEL) == model


def test_both_distributions_at_once(machine: Machine) -> None:
    machine.distribution("onnxruntime-gpu", "1.22.0")
    found = machine.doctor().finding("onnxruntime-twice")
    assert "uninstall -y onnxruntime onnxruntime-gpu" in found["fix"]


def test_a_cuda_provider_that_lacks_cudnn(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    _imitate(machine)
    result = machine.doctor()
    assert result.finding("onnxruntime-cuda-fails")["why"] == (
        "this build is for CUDA 12.8; libcudnn.so.9 is missing; it needs cuDNN 9.* and CUDA 12.*"
    )
    assert result.report["can"]["predict"] == "cpu"


def test_a_cuda_provider_without_a_gpu_is_nothing_wrong(machine: Machine) -> None:
    _imitate(machine)
    found = machine.doctor().finding("onnxruntime-provider-unused")
    assert found["status"] == "not applicable"


def test_a_wrong_result_on_the_cpu(machine: Machine) -> None:
    _imitate(machine, last=12)
    result = machine.doctor()
    assert result.finding("onnxruntime-cpu-fails")["stops"] == ["predict"]
    assert result.report["can"]["predict"] is None
    assert result.code == 1


@pytest.mark.parametrize(
    ("source", "id"),
    [
        ("import os; os.kill(os.getpid(), 4)", "onnxruntime-crashes"),
        ("import time; time.sleep(321)", "onnxruntime-hangs"),
        ("raise ImportError('DLL load failed')", "onnxruntime-import-fails"),
    ],
)
def test_one_that_can_not_be_imported(machine: Machine, source: str, id: str) -> None:
    machine.library("onnxruntime", source, version="1.32.0")
    result = machine.doctor("--time-limit", "3")
    assert result.finding(id)["status"] == "failure"
    assert result.code == 1

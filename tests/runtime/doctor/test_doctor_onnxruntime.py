"""ONNX Runtime: the real one on the CPU, and fakes that behave as on GPU machines."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from doctor_machine import GPUS, Machine, NvidiaSmi

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
    def __init__(self, model, providers, enable_fallback):
        assert not enable_fallback  # it prints
        if {error!r} and providers[0].startswith("CUDA"):
            raise RuntimeError({error!r})
        self.providers = [*({gpu!r} and providers or []), "CPUExecutionProvider"]
        if providers[0].startswith("CUDA"):
            sys.stderr.write({words!r})
    def get_providers(self):
        return self.providers
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


def _imitate(
    machine: Machine, last: int = 11, *, words: str = WORDS, error: str = "", gpu: bool = False
) -> None:
    source = IMITATION.format(words=words, last=last, error=error, gpu=gpu)
    machine.library("onnxruntime", source, name="onnxruntime-gpu", version="1.22.0")


def test_the_real_one_computes_correctly(machine: Machine) -> None:
    machine.onnxruntime(real=True)
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
        "this build is for CUDA 12.8; libcudnn.so.9 is missing; it requires cuDNN 9.* and CUDA 12.*"
        "; mmsent predicts on the CPU"
    )
    assert result.report["can"]["predict"] == "cpu"


def test_a_cuda_provider_without_a_gpu_is_no_problem(machine: Machine) -> None:
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
        pytest.param("import time; time.sleep(321)", "onnxruntime-hangs", marks=pytest.mark.slow),
        ("raise ImportError('DLL load failed')", "onnxruntime-import-fails"),
    ],
)
def test_an_import_that_fails(machine: Machine, source: str, id: str) -> None:
    machine.library("onnxruntime", source, version="1.32.0")
    result = machine.doctor("--time-limit", "3")
    assert result.finding(id)["status"] == "failure"
    assert result.code == 1


DISTRIBUTION = "onnxruntime-gpu[cuda,cudnn]"


def _without_onnxruntime(machine: Machine) -> None:
    """Hide the metadata of the installed ONNX Runtime from the doctor."""
    found = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    machine.monkeypatch.setattr("mmsent.doctor.installed.distribution", distribution)


def test_a_cuda_provider_that_computes(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    """As in the image mmsent-cuda: only onnxruntime-gpu, whose module is onnxruntime."""
    nvidia_smi()
    machine.torch(devices=GPUS)
    _without_onnxruntime(machine)
    _imitate(machine, words="", gpu=True)
    result = machine.doctor()
    assert "mmsent predicts on the GPU" in result.finding("onnxruntime-gpu")["what"]
    assert result.finding("onnxruntime")["what"].startswith("onnxruntime-gpu 1.22.0, with CUDA")
    assert not [id for id in result.ids("failure") if id != "library-missing"]
    missing = [f["what"] for f in result.report["findings"] if f["id"] == "library-missing"]
    assert not [what for what in missing if "onnxruntime" in what]
    assert "onnxruntime-twice" not in result.ids("warning")
    assert result.report["can"]["predict"] == "gpu"
    assert "predict on the GPU" in result.report["summary"]


def test_onnxruntime_gpu_in_a_container_without_a_gpu(machine: Machine) -> None:
    machine.file(".dockerenv", "")
    _without_onnxruntime(machine)
    _imitate(machine, error="CUDA failure 35: CUDA driver version is insufficient ; GPU=-1")
    result = machine.doctor()
    assert result.finding("onnxruntime-provider-unused")["status"] == "not applicable"
    assert result.report["can"]["predict"] == "cpu"


def test_a_gpu_that_onnxruntime_cannot_use(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    _imitate(machine, error="cuda_call.cc:122 CUDA failure 2: out of memory ; GPU=0 ; hostname=vm")
    assert (
        machine.doctor()
        .finding("onnxruntime-cuda-fails")["why"]
        .startswith(
            "this build is for CUDA 12.8; CUDA failure 2: out of memory; mmsent predicts on the CPU"
        )
    )


@pytest.mark.parametrize(("cuda", "pin"), [("12.2", "==1.26.0"), ("13.0", "")])
def test_a_build_for_the_cpu_with_a_gpu(
    machine: Machine, nvidia_smi: NvidiaSmi, cuda: str, pin: str
) -> None:
    """From 1.27 on onnxruntime-gpu is built for CUDA 13."""
    nvidia_smi(cuda=cuda)
    found = machine.doctor().finding("onnxruntime-cpu-build")
    assert found["status"] == "not applicable"
    assert found["fix"].endswith(f"-m pip install '{DISTRIBUTION}{pin}'")
    assert "uninstall -y onnxruntime onnxruntime-gpu && " in found["fix"]

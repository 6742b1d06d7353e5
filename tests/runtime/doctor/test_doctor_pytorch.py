"""PyTorch and torchvision, with a fake PyTorch that behaves as on other machines."""

from __future__ import annotations

import os
import signal

import pytest
from doctor_machine import GPUS, Machine, NvidiaSmi


def test_two_gpus_that_compute_correctly(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=GPUS)
    result = machine.doctor("--require", "gpu")
    assert result.ids("ok").count("torch-gpu") == 2
    assert result.report["can"]["train"] == "gpu"
    assert "on 2 GPUs" in result.report["summary"]
    assert result.code == 0


def test_a_driver_too_old_for_cuda_12_1(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi(driver="470.256.02", cuda="11.4", gpus=["0, Tesla T4, 15360, {driver}, 7.5"])
    machine.torch(warning="CUDA initialization: The NVIDIA driver on your system is too old")
    found = machine.doctor().finding("torch-driver-too-old")
    assert found["what"] == "NVIDIA driver 470.256.02 is too old for CUDA 12.1"
    assert "525.60.13" in found["why"]
    assert "/cu118" in found["fix"]  # the newest CUDA of this driver


def test_a_driver_of_the_same_major_version_is_not_too_old(
    machine: Machine, nvidia_smi: NvidiaSmi
) -> None:
    nvidia_smi(driver="525.60.13", cuda="12.0")
    machine.torch(devices=GPUS)
    assert machine.doctor().ids("warning") == ["clip-weights-missing"]


def test_a_cpu_only_torch_with_a_gpu(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(version="2.4.1+cpu", cuda=None)
    machine.torchvision("0.19.1+cpu", torch="2.4.1")
    result = machine.doctor()
    found = result.finding("torch-cpu-build")
    assert "NVIDIA A100-SXM4-80GB" in found["what"]
    assert found["fix"].endswith(
        "-m pip install --force-reinstall torch==2.4.1 torchvision==0.19.1"
    )
    assert result.code == 0  # it trains, on the CPU


def test_a_cpu_only_torch_without_a_gpu_is_no_problem(machine: Machine) -> None:
    machine.torch(version="2.4.1+cpu", cuda=None)
    machine.torchvision("0.19.1+cpu", torch="2.4.1")
    assert machine.doctor().finding("torch-no-gpu")["status"] == "not applicable"


def test_cuda_visible_devices_that_hides_all(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=GPUS)
    machine.set(CUDA_VISIBLE_DEVICES="")
    found = machine.doctor().finding("torch-gpus-hidden")
    assert found["fix"] == "unset CUDA_VISIBLE_DEVICES"


def test_cuda_visible_devices_that_hides_one(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=GPUS)
    machine.set(CUDA_VISIBLE_DEVICES="1")
    assert "1 of 2 GPUs" in machine.doctor().finding("torch-gpus-selected")["what"]


def test_a_gpu_that_is_unavailable_for_no_visible_reason(
    machine: Machine, nvidia_smi: NvidiaSmi
) -> None:
    nvidia_smi()
    machine.torch(
        init_error="Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions "
        "before calling NumCudaDevices() that might have already set an error? "
        "Error 802: system not yet initialized"
    )
    found = machine.doctor().finding("torch-gpu-unavailable")
    assert "system not yet initialized" in found["why"]
    assert "nvidia-fabricmanager" in found["fix"]


def test_a_container_with_nvidia_smi_and_without_libcuda(
    machine: Machine, nvidia_smi: NvidiaSmi
) -> None:
    nvidia_smi()
    machine.torch(init_error="Found no NVIDIA driver on your system. Please check that you have …")
    found = machine.doctor().finding("torch-gpu-unavailable")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in found["fix"]


def test_a_gpu_that_the_build_does_not_know(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi(driver="570.124.06", cuda="12.8", gpus=["0, NVIDIA B200, 183359, {driver}, 10.0"])
    error = "CUDA error: no kernel image is available for execution on the device"
    machine.torch(
        devices=[{"name": "NVIDIA B200", "capability": "10.0", "results": {"float32": error}}]
    )
    result = machine.doctor()
    found = result.finding("torch-gpu-architecture")
    assert "sm_90" in found["why"]
    assert "/cu128" in found["fix"]
    assert result.code == 1  # `mmsent train` would use it, and fail


@pytest.mark.parametrize("in_the_image", [True, False])
def test_a_geforce_rtx_50_and_a_torch_for_cuda_12_1(
    machine: Machine, nvidia_smi: NvidiaSmi, in_the_image: bool
) -> None:
    nvidia_smi(
        driver="572.16", cuda="12.8", gpus=["0, NVIDIA GeForce RTX 5090, 32607, {driver}, 12.0"]
    )
    error = "CUDA error: no kernel image is available for execution on the device"
    card = {"name": "NVIDIA GeForce RTX 5090", "capability": "12.0"}
    machine.torch(devices=[{**card, "results": {"float32": error}}])
    if in_the_image:
        machine.file(".dockerenv", "")
        machine.file("opt/mmsent/lock/cuda-12.1.lock", "")
    found = machine.doctor().finding("torch-gpu-architecture")
    assert "RTX 5090), compute capability 12.0" in found["what"]
    image = "docker build -f Dockerfile.cuda --build-arg CUDA=12.8 -t mmsent-cuda ."
    assert found["fix"].startswith(image) == in_the_image  # which has no pip
    assert ("-m pip install" in found["fix"]) != in_the_image
    machine.torch(devices=[card], version="2.10.0+cu128", cuda="12.8", architectures=["sm_120"])
    assert "RTX 5090" in machine.doctor().finding("torch-gpu")["what"]


def test_a_torch_of_pytorchs_own_index_is_reinstalled_from_there(machine: Machine) -> None:
    """The default index has no 2.4.1+cu121."""
    machine.torch(before="os.kill(os.getpid(), 4)")
    assert (
        machine.doctor()
        .finding("torch-crashes")["fix"]
        .endswith("torch==2.4.1+cu121 --index-url https://download.pytorch.org/whl/cu121")
    )


def test_a_gpu_of_a_later_minor_version_runs(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi(gpus=["0, NVIDIA L4, 23034, {driver}, 8.9"])
    machine.torch(devices=[{"name": "NVIDIA L4", "capability": "8.9"}])
    assert "L4" in machine.doctor().finding("torch-gpu")["what"]


def test_a_gpu_that_computes_wrongly(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=[GPUS[0], {**GPUS[1], "results": {"float32": "wrong"}}])
    result = machine.doctor()
    assert "GPU 1" in result.finding("torch-wrong-result")["what"]
    assert result.code == 1


def test_a_gpu_whose_kernels_fail(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=[{**GPUS[0], "results": {"float32": "CUDA out of memory."}}])
    assert "out of memory" in machine.doctor().finding("torch-kernel-fails")["why"]


def test_a_gpu_without_bf16(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=[{**GPUS[0], "results": {"bfloat16": "not supported"}}])
    result = machine.doctor()
    assert "bfloat16" in result.finding("torch-half-precision")["what"]
    assert result.report["can"]["train"] == "gpu"


def test_a_required_gpu_that_is_missing_fails_and_says_why(
    machine: Machine, nvidia_smi: NvidiaSmi
) -> None:
    nvidia_smi()
    machine.torch(version="2.4.1+cpu", cuda=None)
    machine.torchvision("0.19.1+cpu", torch="2.4.1")
    result = machine.doctor("--require", "gpu")
    found = result.finding("gpu-required")
    assert found["why"] == "see torch-cpu-build"
    assert found["fix"] == result.finding("torch-cpu-build")["fix"]
    assert result.code == 1


def test_a_torch_that_is_not_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests' environment may have one; the first on the path is used.
    machine.library(
        "torch", "raise ModuleNotFoundError(\"No module named 'torch'\")", version="2.4.1"
    )
    assert machine.doctor().finding("torch-import-fails")["stops"] == ["train"]


def test_a_foreign_library_path_is_blamed_for_a_missing_symbol(machine: Machine) -> None:
    machine.set(LD_LIBRARY_PATH="/usr/local/cuda/lib64")
    error = "libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4"
    machine.torch(before=f"raise ImportError({error!r})")
    found = machine.doctor().finding("torch-import-fails")
    assert "__nvJitLinkComplete_12_4" in found["why"]
    assert found["fix"].startswith("unset LD_LIBRARY_PATH")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGKILL"])
def test_a_torch_that_crashes(machine: Machine, name: str) -> None:
    number = int(getattr(signal, name))
    machine.torch(before=f"os.kill(os.getpid(), {number})")
    result = machine.doctor()
    assert name in result.finding("torch-crashes")["what"]
    assert result.code == 1


def test_a_torch_that_hangs_does_not_hold_up_the_rest(machine: Machine) -> None:
    machine.torch(before="import time; time.sleep(321)")
    result = machine.doctor("--time-limit", "4")
    assert "importing torch" in result.finding("torch-hangs")["what"]
    assert "onnxruntime" in result.ids("ok")


def test_a_torchvision_for_another_torch(machine: Machine) -> None:
    machine.torchvision("0.18.1", torch="2.3.1")
    found = machine.doctor().finding("torchvision-mismatch")
    assert found["what"] == "torchvision 0.18.1 does not match torch 2.4.1+cu121"
    assert found["fix"].endswith(
        "--no-deps torchvision==0.19.1 --index-url https://download.pytorch.org/whl/cu121"
    )


def test_a_torchvision_of_the_right_version_for_another_device(machine: Machine) -> None:
    error = "operator torchvision::nms does not exist"
    machine.torch(version="2.4.1+cpu", cuda=None)
    machine.torchvision("0.19.1", torch="2.4.1", source=f"raise RuntimeError({error!r})")
    machine.library("transformers", f"raise RuntimeError({error!r})", version="4.57.6")
    result = machine.doctor()
    assert error in result.finding("torchvision-mismatch")["why"]
    assert result.ids("failure") == ["torchvision-mismatch"]  # transformers is not to blame
    assert result.code == 1


def test_the_working_folder_does_not_shadow_libraries(
    machine: Machine, elsewhere: os.PathLike[str]
) -> None:
    with open(os.path.join(elsewhere, "torch.py"), "w") as file:
        file.write("raise ImportError('the wrong torch')")
    assert machine.doctor().code == 0

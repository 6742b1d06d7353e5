"""Dockerfile.cuda, unchanged or with CUDA=12.8, on a machine without a GPU."""

import csv
import io
import json
import os

import pytest

pytestmark = pytest.mark.containers

CUDA = os.environ.get("CUDA", "12.1")
VERSIONS = {
    "12.1": "2.4.1+cu121 0.19.1+cu121 12.1",
    "12.8": "2.10.0+cu128 0.25.0+cu128 12.8",
}
# What the newest supported card of each needs, in the terms of torch.cuda.get_arch_list.
NEWEST = {"12.1": "sm_90", "12.8": "sm_120"}


def test_torch_is_built_for_cuda(engine, cuda_image, empty):
    versions = "torch.__version__, torchvision.__version__, torch.version.cuda"
    code = f"import torch, torchvision; print({versions})"
    said = engine.shell(cuda_image, f"python -c '{code}'", empty)
    assert said == VERSIONS[CUDA]
    # Without a GPU get_arch_list is empty, but the library behind it still has the list.
    library = "/opt/mmsent/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so"
    listed = engine.shell(cuda_image, f"grep -aowE 'sm_[0-9]+' {library} | sort -u", empty)
    assert NEWEST[CUDA] in listed.split()
    assert ("sm_120" in listed.split()) == (CUDA == "12.8")


def test_onnxruntime_finds_cuda_in_torch(engine, cuda_image, empty):
    """Its CUDA library can be loaded: no linked library and no symbol is missing.

    It imports functions from a library next to it, which must be loaded first.
    """
    code = (
        "import ctypes, os, onnxruntime as ort; ort.preload_dlls(); "
        'path = os.path.dirname(ort.__file__) + "/capi/libonnxruntime_providers_"; '
        'ctypes.CDLL(path + "shared.so", ctypes.RTLD_GLOBAL); '
        'ctypes.CDLL(path + "cuda.so", os.RTLD_NOW); print(ort.__version__, ort.cuda_version)'
    )
    assert engine.shell(cuda_image, f"python -c '{code}'", empty).startswith("1.26.0 12.")


def test_it_predicts_on_the_cpu_and_says_so_once(engine, cuda_image, bundle, work):
    (work / "model.onnx").write_bytes(bundle.read_bytes())
    arguments = ("infer", "test_without_label.txt", "--probabilities", "--output", "-")
    result = engine.run(cuda_image, *arguments, work=work)
    assert result.code == 0, result.err
    assert len(list(csv.reader(io.StringIO(result.out)))) == 11
    assert result.err.count("computing on the CPU: ONNX Runtime finds no working GPU") == 1
    quiet = engine.run(cuda_image, *arguments, "--device", "cpu", work=work)
    assert quiet.out == result.out
    assert "computing on the CPU" not in quiet.err
    result = engine.run(cuda_image, *arguments, "--device", "cuda", work=work)
    assert result.code == 2
    assert result.out == ""


def test_doctor_without_a_gpu(engine, cuda_image, empty):
    result = engine.run(cuda_image, "doctor", "--json", work=empty)
    assert result.code == 0, result.out
    report = json.loads(result.out)
    assert report["can"]["train"] == "cpu"
    found = {finding["id"]: finding for finding in report["findings"]}
    assert f"CUDA {CUDA}" in found["torch"]["what"]
    assert found["onnxruntime"]["what"].startswith("onnxruntime-gpu 1.26.0, with ")
    assert not {"onnxruntime-missing", "onnxruntime-twice", "library-missing"} & set(found)
    assert found["nvidia-none"]["fix"] == "docker run --gpus all …"
    result = engine.run(cuda_image, "doctor", "--require", "gpu", work=empty)
    assert result.code == 1
    assert "docker run --gpus all" in result.out


def test_a_driver_too_old(engine, cuda_image, empty):
    """A fake nvidia-smi is where NVIDIA's container runtime puts the real one."""
    program = empty / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '*query*) echo "0, NVIDIA A100-SXM4-40GB, 40960, 470.82.01, 8.0" ;;\n'
        '*) echo "Driver Version: 470.82.01 CUDA Version: 11.4" ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    options = (f"--volume={program}:/usr/bin/nvidia-smi:ro",)
    result = engine.run(
        cuda_image, "doctor", "--require", "gpu", "--json", work=empty, options=options
    )
    assert result.code == 1
    findings = json.loads(result.out)["findings"]
    [found] = [finding for finding in findings if finding["id"] == "torch-driver-too-old"]
    assert found["what"] == f"NVIDIA driver 470.82.01 is too old for CUDA {CUDA}"
    assert found["fix"].startswith("upgrade the driver to 525.60.13 or newer")


def test_it_trains_on_the_cpu_and_says_so(engine, cuda_image, work):
    arguments = ("train", "--model", "light", "--epochs", 1, "--output", "run")
    result = engine.run(cuda_image, *arguments, work=work)
    assert result.code == 0, result.err
    assert "this container has no GPU" in result.err
    assert "docker run --gpus all" in result.err
    record = json.loads((work / "run" / "run.json").read_text())
    assert record["settings"]["device"] == "cpu"


def test_the_image_requests_a_gpu(engine, cuda_image):
    """By the variables that NVIDIA's container runtime reads."""
    settings = json.loads(engine.tell("image", "inspect", cuda_image))[0]["Config"]["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in settings
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in settings
    assert "KMP_DUPLICATE_LIB_OK=TRUE" in settings

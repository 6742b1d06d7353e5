"""Dockerfile.cuda, built as it stands, on a machine without a GPU."""

import json

import pytest

pytestmark = pytest.mark.containers


def test_torch_is_built_for_cuda_12_1(engine, cuda_image, empty):
    versions = "torch.__version__, torchvision.__version__, torch.version.cuda"
    code = f"import torch, torchvision; print({versions})"
    said = engine.shell(cuda_image, f"python -c '{code}'", empty)
    assert said == "2.4.1+cu121 0.19.1+cu121 12.1"


def test_doctor_without_a_gpu(engine, cuda_image, empty):
    result = engine.run(cuda_image, "doctor", "--json", work=empty)
    assert result.code == 0, result.out
    report = json.loads(result.out)
    assert report["can"]["train"] == "cpu"
    found = {finding["id"]: finding for finding in report["findings"]}
    assert "CUDA 12.1" in found["torch"]["what"]
    assert found["nvidia-none"]["fix"] == "docker run --gpus all …"
    result = engine.run(cuda_image, "doctor", "--require", "gpu", work=empty)
    assert result.code == 1
    assert "docker run --gpus all" in result.out


def test_a_driver_that_is_too_old(engine, cuda_image, empty):
    """An imitation of nvidia-smi stands where NVIDIA's container runtime puts the real one."""
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
    assert found["what"] == "NVIDIA driver 470.82.01 is too old for CUDA 12.1"
    assert found["fix"].startswith("upgrade the driver to 525.60.13 or newer")


def test_it_trains_on_the_cpu_and_says_so(engine, cuda_image, work):
    arguments = ("train", "--model", "light", "--epochs", 1, "--output", "run")
    result = engine.run(cuda_image, *arguments, work=work)
    assert result.code == 0, result.err
    assert "this container was given no GPU" in result.err
    assert "docker run --gpus all" in result.err
    record = json.loads((work / "run" / "run.json").read_text())
    assert record["settings"]["device"] == "cpu"


def test_a_gpu_is_asked_for_by_the_image(engine, cuda_image):
    """What NVIDIA's container runtime reads."""
    settings = json.loads(engine.tell("image", "inspect", cuda_image))[0]["Config"]["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in settings
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in settings
    assert "KMP_DUPLICATE_LIB_OK=TRUE" in settings

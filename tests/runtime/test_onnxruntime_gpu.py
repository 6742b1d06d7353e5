"""The ONNX Runtime of the CUDA images, on a machine without a GPU."""

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Command

pytestmark = pytest.mark.installs

ROOT = Path(__file__).parents[2]
LIST = "train.txt"


@pytest.fixture(scope="module")
def onnxruntime_gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the start of the path, with the locked onnxruntime-gpu and torch's CUDA."""
    lock = (ROOT / "docker" / "cuda-12.1.lock").read_text()
    [version] = re.findall(r"^onnxruntime-gpu==(\S+)", lock, re.MULTILINE)
    folder = tmp_path_factory.mktemp("onnxruntime-gpu")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
         "--target", folder, f"onnxruntime-gpu=={version}"],
        check=True,
    )  # fmt: skip
    for place in filter(None, sys.path):
        if (libraries := Path(place, "nvidia")).is_dir():
            (folder / "nvidia").symlink_to(libraries)
            break
    return folder


def infer(
    folder: Path | None, bundle: Path, sample: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run `mmsent-infer` to stdout in a process with ``folder`` first on its path."""
    path = [*([str(folder)] if folder else []), *filter(None, sys.path)]
    return subprocess.run(
        [sys.executable, "-c", "from mmsent.cli import infer, run; run(infer)", sample / LIST,
         "--model", bundle, "--probabilities", "--output", "-", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture(params=["fp32", "fp16", "int8"])
def exported(
    trained: Path, run_command: Command, tmp_path: Path, request: pytest.FixtureRequest
) -> Path:
    """The bundle of the short training in each precision."""
    arguments = (trained, "--precision", request.param, "--output", tmp_path / "model.onnx")
    result = run_command("mmsent-export", "onnx", *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    return tmp_path / "model.onnx"


def test_the_same_labels_and_probabilities(
    onnxruntime_gpu: Path, exported: Path, sample: Path
) -> None:
    """With the version in the CUDA images; without a GPU it computes on the CPU."""
    rows = []
    for folder in (None, onnxruntime_gpu):
        done = infer(folder, exported, sample)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("computing on the CPU: ") == (folder is not None)
        rows.append(list(csv.reader(io.StringIO(done.stdout))))  # nothing else is on stdout
    one, other = rows
    assert len(one) == 81
    assert [row[:2] for row in one] == [row[:2] for row in other]
    for a, b in zip(one[1:], other[1:], strict=True):
        assert [float(x) for x in a[2:]] == pytest.approx([float(x) for x in b[2:]], abs=1e-5)


def test_a_requested_gpu_that_is_missing(onnxruntime_gpu: Path, bundle: Path, sample: Path) -> None:
    done = infer(onnxruntime_gpu, bundle, sample, "--device", "cuda")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--device cuda: ONNX Runtime " in done.stderr
    assert "`mmsent doctor` says why" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_bundle_is_named_as_the_cause(
    onnxruntime_gpu: Path, bundle: Path, sample: Path, tmp_path: Path
) -> None:
    """Not the GPU, although it fails first."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(bundle.read_bytes().replace(b"MatMul", b"MatMuk").replace(b"Gemm", b"Gemn"))
    done = infer(onnxruntime_gpu, broken, sample)
    assert done.returncode == 2
    assert "broken.onnx" in done.stderr
    assert "CUDA" not in done.stderr

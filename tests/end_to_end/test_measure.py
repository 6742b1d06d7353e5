"""measure.py runs benchmarks within their time limits, and makes what they need first."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
import subprocess, sys, time
from pathlib import Path
if "--hang" in sys.argv:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5); open('late', 'w')"])
    time.sleep(60)
if "--fail" in sys.argv:
    sys.exit(1)
Path(sys.argv[-1]).write_text("{}")
"""


def call(expression, folder):
    """The value of an expression on measure.py's names, in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); from measure import *; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({expression})"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("option", "limit", "said", "written"),
    [
        ("--work", 60, "measured", True),
        ("--fail", 60, "failed", False),
        ("--hang", 2, "cut off at its limit of 2 s,", False),
    ],
)
def test_a_benchmark_ends_within_its_limit(tmp_path, option, limit, said, written):
    (tmp_path / "some.py").write_text(SCRIPT)
    got = call(f"run(['some.py', {option!r}], Path('result.json'), {limit})", tmp_path)
    assert got == said
    assert (tmp_path / "result.json").exists() == written


@pytest.mark.parametrize(
    ("present", "name", "needs"),
    [
        ([], "inference-light", ["build-light"]),
        (["run/run.json", "fp32.onnx", "int8.onnx"], "inference-light", []),
        ([], "inference-compact", ["build-compact", "quantization-compact"]),
        (["run/run.json", "fp32.onnx"], "exactness-light", ["build-light"]),
        ([], "build-light", []),
        ([], "interruptions", []),
        ([], "serving-compact", ["build-compact"]),
        ([], "long-list", ["build-light"]),
    ],
)
def test_what_a_benchmark_needs_is_made_first(tmp_path, present, name, needs):
    for file in present:
        path = tmp_path / "work" / "light" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    known = "commands(Path('data'), None, Path('work'), 1)"
    assert call(f"required({name!r}, {known}, Path('work'))", tmp_path) == str(needs)

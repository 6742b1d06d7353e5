"""mmsent-infer beside PyTorch running the same model: whole commands, from start to labels.

    python benchmarks/inference.py --data DIR --run RUN --model model.onnx [--repeat 5]

Both sides predict DIR's unlabelled list as a process of their own, in turn, so that a machine whose
speed drifts slows both. Prints medians and ratios, and writes benchmarks/results/inference.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmsent.dataset import TEST_LIST, read_list
from mmsent.machine import available_cores

RESULTS = Path(__file__).parent / "results"
PYTORCH = Path(__file__).with_name("pytorch_inference.py")


def main() -> None:
    """Run both sides and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--run", type=Path, default=Path("runs/latest"))
    parser.add_argument("--model", type=Path, default=Path("model.onnx"))
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    pairs = sum(1 for _ in read_list(options.data / TEST_LIST, []))
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "mmsent-infer": [
                str(Path(sys.executable).with_name("mmsent-infer")),
                str(options.data / TEST_LIST),
                "--model",
                str(options.model),
                "--output",
                f"{folder}/mmsent-infer.csv",
            ],
            "PyTorch": [
                sys.executable,
                str(PYTORCH),
                str(options.data),
                str(options.run),
                f"{folder}/PyTorch.csv",
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        memory: dict[str, float] = {}
        for repetition in range(options.repeat + 1):
            for name, command in sides.items():
                spent, peak = measure(command)
                memory[name] = max(memory.get(name, 0), peak)
                if repetition:  # the first fills the file cache
                    seconds[name].append(spent)
        labels = {name: read_labels(Path(folder) / f"{name}.csv") for name in sides}
    report(pairs, seconds, memory, labels["mmsent-infer"] == labels["PyTorch"])


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds that a command takes, and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    spent = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors.decode()}")
    return spent, usage.ru_maxrss * 1024 / 1e6


def read_labels(path: Path) -> dict[str, str]:
    """The predicted label of each guid."""
    with open(path, newline="") as file:
        return {row["guid"]: row["tag"] for row in csv.DictReader(file)}


def report(
    pairs: int, seconds: dict[str, list[float]], memory: dict[str, float], same: bool
) -> None:
    """Print the table and write it as JSON."""
    RESULTS.mkdir(exist_ok=True)
    print(f"{pairs} pairs, {available_cores()} cores, start included; median (fastest to slowest)")
    rows = {}
    for name, spent in seconds.items():
        median = statistics.median(spent)
        rows[name] = {"seconds": spent, "pairs_per_second": pairs / median, "peak_mb": memory[name]}
        print(
            f"{name:>14}: {median:6.2f} s ({min(spent):.2f} to {max(spent):.2f}), "
            f"{pairs / median:6.1f} pairs a second, {memory[name]:5.0f} MB at most"
        )
    ratios = [b / a for a, b in zip(seconds["mmsent-infer"], seconds["PyTorch"])]
    ratio = statistics.median(ratios)
    print(f"mmsent-infer is {ratio:.1f} times as fast; labels {'the same' if same else 'DIFFER'}")
    content = {"pairs": pairs, "sides": rows, "ratio": ratio, "same_labels": same}
    (RESULTS / "inference.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

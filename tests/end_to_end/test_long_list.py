"""Lists much longer than one window of rows, in each layout, with the benchmark."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/long_list.py"


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["task", "csv", "jsonl", "parquet"])
def test_memory_stays_flat_over_a_long_list(bundle, tmp_path, layout):
    command = [sys.executable, BENCHMARK, "--model", bundle, "--layout", layout, "--work", tmp_path]
    sizes = ["--short", "2000", "--rows", "10000", "--json", tmp_path / "result.json"]
    subprocess.run([*command, *sizes], check=True)
    before, long, after = json.loads((tmp_path / "result.json").read_text())["figures"]["lists"]
    assert [before["rows"], long["rows"], after["rows"]] == [2000, 10000, 2000]
    # Peaks vary by less than 1 MB between runs; keeping 500 bytes of each row would take 4 MB.
    assert long["peak_mb"] < max(before["peak_mb"], after["peak_mb"]) + 4
    assert long["peak_mb"] < 600

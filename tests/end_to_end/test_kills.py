"""Processes killed at random moments: a shorter run of the benchmark."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "interruptions.py"


@pytest.mark.slow
@pytest.mark.parametrize("only", ["trainings", "inferences"])
def test_killed_and_resumed_runs_end_the_same(only):
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--kills", "8", "--only", only],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.removeprefix(only))
    assert found["kills"] == 8
    assert found["same"] == found["processes"]
    assert found.get("most_repeated", 0) <= found.get("workers_batches", 0)

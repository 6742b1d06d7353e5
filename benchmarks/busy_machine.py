"""Train light on an idle machine and next to busy processes: how much do threads waste?

    python benchmarks/busy_machine.py --data DIR [--neighbours 8] [--rounds 3]

A training's threads wait for each other many times per step. If they spin while they wait, another
process's time slice costs CPU seconds of this one. Each round trains one epoch alone and one while
--neighbours processes compute, in separate processes, and prints seconds, CPU seconds and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from result import write_result

SPIN = "while True: pass"


@contextmanager
def neighbours(count: int):
    """While the block runs, ``count`` processes use all the CPU time they can get."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def train(data: Path, options: list[str]) -> dict[str, float]:
    """Train in a separate process; return wall-clock and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mmsent_training", "--model", "light"]
        command += ["--data", str(data), "--output", f"{folder}/run", *options]
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - start, os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return {"seconds": seconds, "cpu_seconds": user + system}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--neighbours", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = []
    for number in range(1, options.rounds + 1):
        alone = train(options.data, ["--epochs", "1"])
        with neighbours(options.neighbours):
            busy = train(options.data, ["--epochs", "1"])
        ratio = {name: busy[name] / alone[name] for name in alone}
        rounds.append({"round": number, "alone": alone, "busy": busy, "ratio": ratio})
        print(json.dumps(rounds[-1]), flush=True)
    medians = {
        name: statistics.median(item["ratio"][name] for item in rounds)
        for name in ("seconds", "cpu_seconds")
    }
    for name, median in medians.items():
        print(f"{name} next to {options.neighbours} busy processes / alone: {median:.2f}")
    write_result(options.json, {"neighbours": options.neighbours, "rounds": rounds} | medians)


if __name__ == "__main__":
    main()

"""`mmsent-infer` from start to end, compared with only decoding the same images.

    python benchmarks/whole_command.py --data DIR --model model.onnx

Both take turns. The command predicts DIR's unlabelled list. The images are decoded and scaled as
the bundle wants them, on all cores, by a process that has already started. Prints seconds, CPU
seconds and their ratios, and writes them to --json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.files.machine import available_cores
from result import write_result

Times = tuple[float, float]
"""Seconds and CPU seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--model", type=Path, required=True, help="a bundle")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = list(open_dataset(options.data / TEST_LIST).rows())
    settings = SentimentModel(options.model, threads=1).info.image

    def decode() -> None:
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(lambda row: row.load_image(settings), rows))

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mmsent", "infer", str(options.data / TEST_LIST)]
        command += ["--model", str(options.model), "--output", f"{folder}/predictions.csv"]

        def infer() -> None:
            subprocess.run(command, check=True, capture_output=True)

        infer()
        turns = [
            (measure(infer, resource.RUSAGE_CHILDREN), measure(decode, resource.RUSAGE_SELF))
            for _ in range(options.repeat)
        ]
    figures = {"pairs": len(rows), "turns": len(turns)}
    for name, place in (("seconds", 0), ("cpu_seconds", 1)):
        whole, alone = ([side[place] for side in sides] for sides in zip(*turns))
        ratio = statistics.median(a / b for a, b in zip(whole, alone))
        middle = {"command": statistics.median(whole), "decoding": statistics.median(alone)}
        figures[name] = middle | {"ratio": ratio}
    print(json.dumps(figures, indent=2))
    write_result(options.json, figures)


def measure(work: Callable[[], None], who: int) -> Times:
    """The time that ``work`` takes; ``who``: whose CPU seconds count, see `resource.getrusage`."""
    start, before = time.perf_counter(), resource.getrusage(who)
    work()
    after, seconds = resource.getrusage(who), time.perf_counter() - start
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return seconds, user + system


if __name__ == "__main__":
    main()

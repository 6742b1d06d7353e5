"""A long list beside a short one: pairs a second and peak memory of mmsent-infer.

python benchmarks/long_list.py --model demo/model.onnx [--rows 1000000] [--threads 1]

The long list repeats the files of a synthetic dataset by hard links, all in one folder. The short
one (10,000 rows of the same folder) is predicted before and after the long one, since a machine's
speed drifts; the ratio is to the mean of both.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file, text_file
from mmsent.data.sample import write_sample_data

SHORT = 10_000
# A process counts its parent's memory in its own peak until it has become another program.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, help="where the files go  [default: the temporary folder]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        write_sample_data(folder / "sample", pairs=1000)
        known = [pair.guid for pair in open_dataset(folder / "sample").select(TRAINING).rows()]
        (folder / "data").mkdir()
        for row in range(options.rows):
            for locate in (text_file, image_file):
                source = locate(folder / "sample", known[row % len(known)])
                os.link(source, locate(folder, str(row)))
        results = []
        for rows in (SHORT, options.rows, SHORT):
            path = folder / f"{rows}.txt"
            path.write_text("guid,tag\n" + "".join(f"{row},null\n" for row in range(rows)))
            results.append(measure(path, options.model, options.threads))
            peak, rate, whole = results[-1]
            print(
                f"{rows:>9} rows: {rate:6.0f} pairs a second ({whole:.0f} with start and check), "
                f"peak {peak / 1e6:.0f} MB",
                flush=True,
            )
    (before, first, whole1), (peak, rate, whole), (after, second, whole2) = results
    print(f"pairs a second, long / short: {rate / ((first + second) / 2):.3f}")
    print(f"with start and check: {whole / ((whole1 + whole2) / 2):.3f}")
    print(f"peak memory, long - short: {(peak - max(before, after)) / 1e6:.0f} MB")


def measure(path: Path, model: Path, threads: int) -> tuple[int, float, float]:
    """Peak memory in bytes, pairs a second as the command says, and from start to end."""
    program = Path(sys.executable).with_name("mmsent-infer")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, program, path, "--model", model.resolve(),
         "--threads", str(threads), "--output", path.with_suffix(".csv")],
        capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    pairs, took = re.search(r"predicting: (\d+) pairs in ([\d.]+) s", done.stderr).groups()
    return int(done.stdout) * 1024, int(pairs) / float(took), int(pairs) / seconds


if __name__ == "__main__":
    main()

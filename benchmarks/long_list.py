"""A long list compared with a short one: pairs per second and peak memory of mmsent-infer.

python benchmarks/long_list.py --model demo/model.onnx [--layout csv] [--rows 1000000] [--threads 1]

The pairs repeat those of a synthetic dataset. Layouts: "task", in which each row has its own files,
hard links in one folder; "csv", "jsonl" and "parquet", with the texts and the paths of images in
the list; "packed", Parquet with the images' bytes (some 7 GB for a million rows).

The short list (--short, 10,000 rows) is predicted before and after the long one, since a machine's
speed drifts; the ratio is to the mean of both.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file, text_file
from mmsent.data.pair import Pair
from mmsent.data.sample import write_sample_data
from result import write_result

GROUP = 1_000  # rows of a row group
# A process counts its parent's memory in its own peak until it executes another program.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--layout", choices=LAYOUTS, default="task")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--short", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, help="where the files go  [default: the temporary folder]"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    write = LAYOUTS[options.layout]
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        write_sample_data(folder / "sample", pairs=1000)
        known = list(open_dataset(folder / "sample").select(TRAINING).rows())
        write(folder, known, options.rows)  # the short list is in the folder of the long one
        results = []
        for rows in (options.short, options.rows, options.short):
            path = write(folder, known, rows)
            peak, rate, whole = measure(path, options.model, options.threads)
            results.append(
                {"rows": rows, "pairs_per_second": rate, "whole": whole, "peak_mb": peak / 1e6}
            )
            print(
                f"{rows:>9} rows: {rate:6.0f} pairs a second ({whole:.0f} with start and check), "
                f"peak {peak / 1e6:.0f} MB",
                flush=True,
            )
    before, long, after = results
    for name, key in (("pairs a second", "pairs_per_second"), ("with start and check", "whole")):
        print(f"{name}, long / short: {2 * long[key] / (before[key] + after[key]):.3f}")
    peak = max(before["peak_mb"], after["peak_mb"])
    print(f"peak memory, long - short: {long['peak_mb'] - peak:.0f} MB")
    write_result(options.json, {"layout": options.layout, "lists": results})


def write_task(folder: Path, known: Sequence[Pair], rows: int) -> Path:
    """The task's list, and a text and an image for each row."""
    (folder / "data").mkdir(exist_ok=True)
    path = folder / f"{rows}.txt"
    with open(path, "w") as file:
        file.write("guid,tag\n")
        for row in range(rows):
            for locate in (text_file, image_file):
                place = locate(folder, str(row))
                if not os.path.exists(place):
                    os.link(locate(folder / "sample", known[row % len(known)].guid), place)
            file.write(f"{row},null\n")
    return path


def cells(known: Sequence[Pair], rows: int) -> Iterator[dict[str, str]]:
    """The content of lists with texts and image paths."""
    contents = [
        {"text": pair.read_text(), "image": image_file(Path("sample"), pair.guid)} for pair in known
    ]
    for row in range(rows):
        yield {"guid": str(row), **contents[row % len(known)]}


def write_csv(folder: Path, known: Sequence[Pair], rows: int) -> Path:
    path = folder / f"{rows}.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["guid", "text", "image"])
        writer.writeheader()
        writer.writerows(cells(known, rows))
    return path


def write_json_lines(folder: Path, known: Sequence[Pair], rows: int) -> Path:
    path = folder / f"{rows}.jsonl"
    with open(path, "w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in cells(known, rows))
    return path


def write_parquet(folder: Path, known: Sequence[Pair], rows: int, *, packed: bool = False) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{rows}.parquet"
    schema = pa.schema(
        {"guid": pa.string(), "text": pa.string(), "image": pa.binary() if packed else pa.string()}
    )
    source = cells(known, rows)
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        while group := list(islice(source, GROUP)):
            for row in group if packed else ():
                row["image"] = known[int(row["guid"]) % len(known)].read("image")
            writer.write_table(pa.Table.from_pylist(group, schema))
    return path


LAYOUTS = {
    "task": write_task,
    "csv": write_csv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
    "packed": partial(write_parquet, packed=True),
}


def measure(path: Path, model: Path, threads: int) -> tuple[int, float, float]:
    """Peak memory in bytes, and pairs per second, as reported and from start to end."""
    program = Path(sys.executable).with_name("mmsent-infer")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, program, path, "--model", model.resolve(),
         "--threads", str(threads), "--output", path.with_name("predictions.csv")],
        capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    pairs, took = re.search(r"predicting: (\d+) pairs in ([\d.]+) s", done.stderr).groups()
    return int(done.stdout) * 1024, int(pairs) / float(took), int(pairs) / seconds


if __name__ == "__main__":
    main()

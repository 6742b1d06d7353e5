"""Ray with two actors on this machine compared with mmsent-infer on as many cores, from Parquet.

python benchmarks/ray_local.py --model demo/model.onnx pairs.parquet [--copies 2] [--kill]

Ray predicts the file --copies times and three times as often, each in a new cluster. The time
between the two, for the additional rows, is its steady state, without its start-up. mmsent-infer is
timed by its own report. --kill ends an actor in the middle of the longer prediction, and still
requires the same rows.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray

import mmsent.ray
from result import write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        short, long = Path(name, "short.parquet"), Path(name, "long.parquet")
        few = repeat(options.pairs, short, options.copies)
        many = repeat(options.pairs, long, 3 * options.copies)
        wanted, alone = by_infer(long, options.model, options.actors)
        _, start = by_ray(short, options)
        found, end = by_ray(long, options, kill=options.kill)
        rate = (many - few) / (end - start)
        print(f"{many} rows, {options.actors} actors; an actor was killed: {options.kill}")
        print(f"guids and labels identical: {found == wanted}")
        print(
            f"pairs a second: mmsent-infer {alone:.0f}, Ray {rate:.0f} in steady state: "
            f"{rate / alone:.2f}; Ray's start took {start - few / rate:.1f} s"
        )
        figures = {
            "rows": many,
            "actors": options.actors,
            "killed": options.kill,
            "identical": found == wanted,
            "ray": rate,
            "mmsent_infer": alone,
            "start_seconds": start - few / rate,
        }
        write_result(options.json, figures)


def repeat(source: Path, path: Path, copies: int) -> int:
    """Write ``source`` several times to one file, with different guids and small row groups."""
    file = pq.ParquetFile(source)
    rows = 0
    with pq.ParquetWriter(path, file.schema_arrow) as writer:
        for copy in range(copies):
            for batch in file.iter_batches(256):
                guids = [f"{guid}-{copy}" for guid in batch.column("guid").to_pylist()]
                table = pa.Table.from_batches([batch]).set_column(0, "guid", pa.array(guids))
                writer.write_table(table)
                rows += len(guids)
    return rows


def by_infer(path: Path, model: Path, threads: int) -> tuple[dict[str, str], float]:
    program = Path(sys.executable).with_name("mmsent-infer")
    output = path.with_name("out.parquet")
    done = subprocess.run(
        [program, path, "--model", model, "--output", output, "--threads", str(threads)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    table = pq.read_table(output)
    labels = dict(zip(table.column("guid").to_pylist(), table.column("tag").to_pylist()))
    return labels, float(re.search(r"\((\d+) a second\)", done.stderr)[1])


def by_ray(
    path: Path, options: argparse.Namespace, *, kill: bool = False
) -> tuple[dict[str, str], float]:
    """The labels, and the seconds from the start of the cluster to the last label."""
    ray.init(num_cpus=options.actors, include_dashboard=False, log_to_driver=False)
    start = time.perf_counter()
    data = ray.data.read_parquet(str(path))
    result = mmsent.ray.predict(data, options.model.resolve(), concurrency=options.actors)
    labels: dict[str, str] = {}
    columns = result.select_columns(["guid", "predicted_tag"])
    for batch in columns.iter_batches(batch_size=None, batch_format="pyarrow"):
        if kill and not labels:
            threading.Thread(target=kill_one).start()
        guids, tags = (batch.column(name).to_pylist() for name in ("guid", "predicted_tag"))
        labels |= zip(guids, tags)
    seconds = time.perf_counter() - start
    ray.shutdown()
    return labels, seconds


def kill_one() -> None:
    """Kill one of the actors that this process's cluster runs."""
    for process in psutil.Process().children(recursive=True):
        if "ray::MapWorker" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            return
    print("no actor was found to kill", file=sys.stderr)


if __name__ == "__main__":
    main()

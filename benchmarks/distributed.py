"""Train with two processes and with one, at the same step size: is the result the same?

    python benchmarks/distributed.py --data DIR [--model compact] [--epochs 2] [--again]

Each training is a separate process, or two that torchrun starts, with one thread each. They share
the usual cache, so that only the first one encodes images. --again trains a third time, with one
process and two threads, which rounds sums differently; its differences are the reference.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result import write_result


def train(folder, name, options, *, processes=1, threads=1):
    launcher = [str(Path(sys.executable).with_name("torchrun")), "--standalone"]
    start = [sys.executable] if processes == 1 else [*launcher, "--nproc-per-node", str(processes)]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    run = folder / name
    command = [*start, "-m", "mmsent_training", *options, "--output", str(run)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return read(run) | {"wall": time.perf_counter() - began}


def read(run):
    tables = []
    for name in ("history.csv", "validation_predictions.csv"):
        with open(run / name, encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    return {"history": tables[0], "predictions": tables[1]}


def compare(one, other):
    pairs = list(zip(one["predictions"], other["predictions"], strict=True))
    assert all(mine["guid"] == theirs["guid"] for mine, theirs in pairs)
    epochs = list(zip(one["history"], other["history"], strict=True))
    result = {"same_predictions": sum(a["predicted"] == b["predicted"] for a, b in pairs)}
    result["pairs"] = len(pairs)
    for name in ("train_loss", "validation_loss", "accuracy", "macro_f1"):
        result[name] = max(abs(float(a[name]) - float(b[name])) for a, b in epochs)
    seconds = [sum(float(row["seconds"]) for row in run["history"]) for run in (one, other)]
    return result | {"speed": seconds[0] / seconds[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="compact", choices=["compact", "light"])
    parser.add_argument("--modality", default="both")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    options = ["--data", str(arguments.data), "--model", arguments.model, "--device", "cpu"]
    options += ["--modality", arguments.modality, "--epochs", str(arguments.epochs)]
    cases = {"two processes": {"processes": 2}}
    if arguments.again:
        cases["one, two threads"] = {"threads": 2}
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = train(folder, "one", options)
        print("compared with one       same predictions      losses differ by at most    speed")
        for number, (name, how) in enumerate(cases.items()):
            row = compare(one, train(folder, f"other-{number}", options, **how))
            results[name] = row
            share = row["same_predictions"] / row["pairs"]
            print(
                f"{name:<22}  {row['same_predictions']} of {row['pairs']} ({share:.1%})"
                f"  {row['train_loss']:.1e} (train), {row['validation_loss']:.1e}"
                f"  x {row['speed']:.2f}",
                flush=True,
            )
    write_result(
        arguments.json,
        {"model": arguments.model, "epochs": arguments.epochs, "against_one_process": results},
    )


if __name__ == "__main__":
    main()

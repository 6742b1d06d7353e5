"""Train a model and export it: seconds, sizes, and what each precision changes.

    python benchmarks/build.py --model light --data DIR --output FOLDER [--clip DIR] [--pairs N]

Every step is the command that users run, in its own process, and nothing is cached from another
training. A run or bundle that is already in FOLDER is kept. --pairs uses only the first N labelled
pairs, which is enough to measure the speed of CLIP.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mmsent import SentimentModel
from mmsent.data.folder import TRAIN_LIST
from result import write_result

PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--clip", help="the checkpoint of --model clip")
    parser.add_argument("--pairs", type=int, help="train only on the first N pairs")
    parser.add_argument(
        "--accept-loss", type=float, metavar="PERCENT", help="the exporter's --accept-loss"
    )
    parser.add_argument("--output", type=Path, required=True, help="a folder for run and bundles")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    data = first_pairs(options) if options.pairs else options.data
    figures = {"model": options.model, "training": train(options, data.resolve())}
    figures["bundles"] = {name: export(options, name) for name in PRECISIONS}
    print(json.dumps(figures, indent=2))
    write_result(options.json, figures)


def first_pairs(options: argparse.Namespace) -> Path:
    """A dataset of the first --pairs rows of train.txt, without copying texts and images."""
    folder = options.output / "dataset"
    folder.mkdir(exist_ok=True)
    lines = (options.data / TRAIN_LIST).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / TRAIN_LIST).write_text("".join(lines[: options.pairs + 1]), encoding="utf-8")
    if not (folder / "data").exists():
        (folder / "data").symlink_to((options.data / "data").resolve())
    return folder


def train(options: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Train once; return the seconds from the command's start to its end, and the settings."""
    run, timed = options.output / "run", options.output / "training.json"
    if not timed.exists():
        shutil.rmtree(run, ignore_errors=True)  # left by a training that was stopped
        command = ["train", "--model", options.model, "--device", "cpu"]
        command += ["--data", str(data), "--output", str(run)]
        if options.clip:
            command += ["--clip", options.clip]
        seconds = timed_run(command, MMSENT_CACHE=str((options.output / "cache").resolve()))
        timed.write_text(json.dumps({"seconds": seconds}))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return json.loads(timed.read_text()) | {
        "pairs": record["dataset"]["train_pairs"],
        "epochs": record["epochs"],
        "precision": record["settings"]["precision"],
        "seed": record["settings"]["seed"],
    }


def export(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Export the run in one precision; return the bundle's size in bytes and its verification."""
    bundle = options.output / f"{precision}.onnx"
    if not bundle.exists():
        command = ["export", "onnx", str(options.output / "run"), "--precision", precision]
        if options.accept_loss is not None and precision != "fp32":
            command += ["--accept-loss", str(options.accept_loss)]
        timed_run([*command, "--output", str(bundle)])
    verification = SentimentModel(bundle).info.verification
    return {"bytes": bundle.stat().st_size, "verification": verification}


def timed_run(arguments: list[str], **environment: str) -> float:
    """Run an mmsent command, showing its progress, and return the seconds that it took."""
    command = [sys.executable, "-m", "mmsent", *arguments]
    start = time.perf_counter()
    if subprocess.run(command, env=os.environ | environment).returncode:
        sys.exit(f"failed: {shlex.join(command)}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

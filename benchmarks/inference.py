"""Bundles compared with PyTorch running the same model, from files to labels.

    python benchmarks/inference.py --data DIR --run RUN --bundle fp32=model.onnx [--bundle …]

Every side predicts DIR's unlabelled list in its own process, in turn, so that changes in the
machine's speed affect all sides. Prints medians and ratios, and writes them to --json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from result import machine, write_result

SIDE = Path(__file__).with_name("inference_side.py")
CLIP_GFLOP = 11.0
"""CLIP's arithmetic for a pair of the task's dataset: image 8.8, text of 29 tokens 2.2."""


def main() -> None:
    """Run all sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--run", type=Path, default=Path("runs/latest"))
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--bf16", action="store_true", help="also PyTorch with bf16 autocast")
    parser.add_argument(
        "--optimum", action="store_true", help="also optimum, which must be installed"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bundles = options.bundle or ["fp32=model.onnx"]
    sides = {"PyTorch fp32": ("torch-fp32", str(options.run))}
    if options.bf16:
        sides["PyTorch bf16"] = ("torch-bf16", str(options.run))
    if options.optimum:
        sides["optimum fp32"] = ("optimum", str(options.run))
        measure("optimum", str(options.run), options.data)  # exports first, if necessary
    for bundle in bundles:
        name, _, file = bundle.partition("=")
        sides[f"mmsent {name}"] = ("mmsent", file)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for repetition in range(options.repeat):
        for name, (kind, source) in sides.items():
            runs[name].append(measure(kind, source, options.data))
            print(f"{repetition + 1}/{options.repeat} {name}", file=sys.stderr)
    model = json.loads((options.run / "run.json").read_text())["model"]["name"]
    content = summarise(runs, model)
    report(content)
    write_result(options.json, content)


def measure(kind: str, source: str, data: Path) -> dict[str, Any]:
    """The figures that one side prints."""
    command = [sys.executable, str(SIDE), kind, source, str(data), str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summarise(runs: dict[str, list[dict[str, Any]]], model: str) -> dict[str, Any]:
    """Medians, spreads, ratios to PyTorch fp32 by repetition, and limits."""
    base = runs["PyTorch fp32"]
    sides = {}
    for name, results in runs.items():
        rates = [item["pairs"] / item["seconds"] for item in results]
        same = [a == b for a, b in zip(results[0]["labels"], base[0]["labels"])]
        sides[name] = {
            "pairs_per_second": statistics.median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
            "ratio": statistics.median(b["seconds"] / r["seconds"] for b, r in zip(base, results)),
            "same_labels": sum(same) / len(same),
            "first_seconds": statistics.median(item["first"] for item in results),
            "peak_mb": max(item["peak_mb"] for item in results),
            "parts": {
                key: statistics.median(item["parts"][key] for item in results)
                for key in results[0]["parts"]
            },
        }
    decode = max(side["parts"].get("decode", 0) for side in sides.values())
    gflops = max(side["parts"].get("gflops", 0) for side in sides.values())
    limits = {"decode": decode}
    if model == "clip":
        limits["matrix_product"] = gflops / CLIP_GFLOP
        limits["both"] = 1 / (1 / decode + CLIP_GFLOP / gflops)
    return {
        "model": model,
        "pairs": base[0]["pairs"],
        "gflops": gflops,
        "limits": limits,
        "sides": sides,
    }


def report(content: dict[str, Any]) -> None:
    """Print the tables."""
    here = machine()
    print(
        f"{content['model']}: {content['pairs']} pairs from files to labels, {here['cores']} "
        f"cores ({here['processor']}), median (slowest to fastest)"
    )
    print(f"{'':>14}  pairs/s                 ratio  same labels  first  peak MB")
    for name, side in content["sides"].items():
        spread = f"({side['slowest']:.1f} to {side['fastest']:.1f})"
        print(
            f"{name:>14}  {side['pairs_per_second']:6.1f} {spread:<17} {side['ratio']:5.2f}"
            f"  {side['same_labels']:10.1%}  {side['first_seconds']:4.2f} s  {side['peak_mb']:6.0f}"
        )
    for name, side in content["sides"].items():
        if "session" in side["parts"]:
            parts = ", ".join(f"{key} {rate:.0f}" for key, rate in side["parts"].items())
            print(f"{name:>14}  its parts alone, pairs/s: {parts}")
    limits = ", ".join(f"{name} {rate:.1f}" for name, rate in content["limits"].items())
    print(f"limits of this machine, pairs/s: {limits} (fp32 {content['gflops']:.0f} GFLOP/s)")


if __name__ == "__main__":
    main()

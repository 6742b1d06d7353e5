"""Run benchmarks one after another, and keep each result in benchmarks/results/NAME.json.

    python benchmarks/measure.py --data DIR [--clip DIR] [--list] [NAME ...]

Without names: speed, sizes, training time and exactness, in about 25 minutes on two idle cores.
Results that were measured at this commit are kept; delete a file to measure again.
Runs and bundles stay in .bench/COMMIT/. DIR of --clip is a checkpoint, or only its configuration
and tokenizer: then a stand-in with random weights, which costs the same, is used.
Afterwards, `make figures` writes the tables and the chart.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from result import RESULTS, commit

HERE = Path(__file__).parent
MODELS = ("light", "compact", "clip")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--clip", type=Path, help="without it, clip is not measured")
    parser.add_argument("--list", action="store_true", help="show all commands and stop")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    data, clip = (path and path.resolve() for path in (options.data, options.clip))
    os.chdir(HERE.parent)
    work = Path(".bench") / (commit() or "no-commit")
    known = commands(data, clip, work)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from: {', '.join(known)}")
    usual = [name for name in known if name.startswith(("build-", "inference-", "exactness-"))]
    if options.list:
        print("\n".join(f"{name:18} {shlex.join(command)}" for name, command in known.items()))
        return
    failed = []
    for name in options.names or usual:
        path, command = RESULTS / f"{name}.json", known[name]
        if measured(path):
            print(f"{name}: already measured at this commit", flush=True)
        else:
            print(f"{name}: {shlex.join(command)}", flush=True)
            start = time.perf_counter()
            if clip:
                find_checkpoint(clip, work)
            if run(command, path):
                failed.append(name)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def commands(data: Path, clip: Path | None, work: Path) -> dict[str, list[str]]:
    """The command of each result, without the interpreter."""

    def script(name: str, *arguments: object) -> list[str]:
        return [f"benchmarks/{name}.py", *map(str, arguments)]

    checkpoint = work / "checkpoint" if clip and not has_weights(clip) else clip
    found = {}
    for model in MODELS if clip else MODELS[:2]:
        build = script("build", "--model", model, "--data", data, "--output", work / model)
        if model == "clip":
            build += ["--clip", str(checkpoint), "--pairs", "640", "--accept-loss", "100"]
        found[f"build-{model}"] = build
    for model in MODELS if clip else MODELS[:2]:
        bundles = [f"--bundle={name}={work / model / name}.onnx" for name in ("fp32", "int8")]
        found[f"inference-{model}"] = script(
            "inference", "--data", data, "--run", work / model / "run", *bundles
        )
    for model in MODELS if clip else MODELS[:2]:
        folder = work / model
        pair = ["--run", folder / "run", "--model", folder / "fp32.onnx"]
        more = ["--clip", checkpoint] if model == "clip" else []
        found[f"exactness-{model}"] = script("exactness", "--data", data, *pair, *more)
    for model in MODELS[:2]:
        for way in ("seeds", "modalities", "folds"):
            found[f"{way}-{model}"] = script(
                "scores", way, "--data", data, "--model", model, "--work", work / "scores"
            )
        found[f"continued-{model}"] = script(
            "continued", "--data", data, "--model", model, "--work", work / "continued"
        )
    by_hand = ("--by-hand",) if find_spec("fastapi") else ()
    for model, precision in (("light", "fp32"), ("compact", "int8")):
        bundle = ("--model", work / model / f"{precision}.onnx")
        found[f"serving-{model}"] = script("serving", "--data", data, *bundle, *by_hand)
    for model in MODELS[:2]:
        bundle = ("--model", work / model / "fp32.onnx")
        run = ("--run", work / model / "run")
        found[f"explanations-{model}"] = script(
            "explanations", "deletion", "--data", data, *bundle, *run
        )
    bundle = ("--model", work / "light" / "fp32.onnx")
    found |= {
        "explanations-known": script("explanations", "known"),
        "busy-machine": script("busy_machine", "--data", data),
        "interruptions": script("interruptions"),
        "distributed": script("distributed", "--data", data, "--model", "light"),
        "parquet": script("parquet", "--data", data, *bundle),
        "long-list": script("long_list", *bundle),
    }
    return found


def run(command: list[str], path: Path) -> int:
    """Run one benchmark, scores on one thread, everything else on all cores; its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if command[0].endswith("scores.py"):
        environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run([sys.executable, *command, "--json", path], env=environment).returncode


def measured(path: Path) -> bool:
    """Whether ``path`` is a result of this commit, and the code has no uncommitted changes."""
    now = commit()
    if not path.exists() or now is None or now.endswith("-dirty"):
        return False
    return json.loads(path.read_text(encoding="utf-8"))["commit"] == now


def has_weights(clip: Path) -> bool:
    return any(clip.glob("*.safetensors"))


def find_checkpoint(clip: Path, work: Path) -> None:
    """Make the stand-in of ``clip``, once, if it has no weights."""
    checkpoint = work / "checkpoint"
    if not has_weights(clip) and not has_weights(checkpoint):
        command = [sys.executable, HERE / "clip_stand_in.py", clip, checkpoint]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

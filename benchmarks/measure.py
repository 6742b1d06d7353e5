"""Run benchmarks one after another, and keep each result in benchmarks/results/NAME.json.

    python benchmarks/measure.py --data DIR [--clip DIR] [--list] [NAME ...]

Without names: speed, sizes, training time and exactness, in about 40 minutes on two idle cores.
A benchmark that is named also makes the run and the bundles that it needs, once. Results that were
measured at this commit are kept; delete a file to measure again. Each benchmark has a time limit,
after which it is ended: the others go on, and the summary says which were cut off. A busy or slow
machine needs --patience. Runs and bundles stay in .bench/COMMIT/. DIR of --clip is a checkpoint, or
only its configuration and tokenizer: then a stand-in with random weights, which costs the same, is
used. Afterwards, `make figures` writes the tables and the chart.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from figures import read_results
from tables import BASELINES, TABLES

from result import RESULTS, commit

HERE = Path(__file__).parent
MODELS = ("light", "compact", "clip")
QUANTIZED = MODELS[1:]
"""ONNX Runtime 1.32 aborts when it opens light as its own quantisation writes it."""
USUAL = ("build-", "quantization-", "inference-", "operators-", "command-", "exactness-")
LIMITS = {
    "build-": 1200, "quantization-": 240, "inference-": 300, "operators-": 120, "command-": 120,
    "exactness-": 300,
}  # fmt: skip
"""Seconds after which a benchmark is ended. The others have an hour."""
SHOWN = ("speed", "limits", "precisions")
"""The tables that are printed at the end."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--clip", type=Path, help="without it, clip is not measured")
    parser.add_argument("--list", action="store_true", help="show all commands and stop")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="FACTOR", help="multiply all time limits"
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    data, clip = (path and path.resolve() for path in (options.data, options.clip))
    os.chdir(HERE.parent)
    work = Path(".bench") / (commit() or "no-commit")
    known = commands(data, clip, work, options.patience)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from: {', '.join(known)}")
    if options.list:
        print("\n".join(f"{name:20} {shlex.join(command)}" for name, command in known.items()))
        return
    wanted = options.names or [name for name in known if name.startswith(USUAL)]
    done: dict[str, str] = {}
    queue = [one for each in wanted for one in (*required(each, known, work), each)]
    for name in dict.fromkeys(queue):
        path, command = RESULTS / f"{name}.json", known[name]
        if measured(path) and (not name.startswith("build-") or built(name, work)):
            done[name] = "already measured at this commit"
        else:
            print(f"{name}: {shlex.join(command)}", flush=True)
            start = time.perf_counter()
            if clip and "clip" in name:
                find_checkpoint(clip, work)
            limit = options.patience * seconds_of(name)
            outcome = run(command, path, limit)
            done[name] = f"{outcome} after {time.perf_counter() - start:.0f} s"
        print(f"{name}: {done[name]}", flush=True)
    results = {name: result for name, result in read_results(RESULTS).items() if name in done}
    for table in SHOWN:
        print(f"\n{table}\n{TABLES[table](results)}")
    print("\n".join(f"{name:20} {outcome}" for name, outcome in done.items()))
    if failed := [name for name, outcome in done.items() if outcome.startswith(("fail", "cut"))]:
        sys.exit(f"not measured: {', '.join(failed)}")


def required(name: str, known: dict[str, list[str]], work: Path) -> list[str]:
    """The benchmarks whose files ``name`` reads, if they are not there yet."""
    model = name.rpartition("-")[2]
    needs = []
    if not name.startswith("build-") and any(str(work / model) in word for word in known[name]):
        needs += [] if built(f"build-{model}", work) else [f"build-{model}"]
    elif name in ("parquet", "long-list") and not built("build-light", work):
        needs.append("build-light")
    if (
        name.startswith("inference-")
        and model in QUANTIZED
        and not all(path.exists() for path in others(work / model))
    ):
        needs.append(f"quantization-{model}")
    return needs


def built(name: str, work: Path) -> bool:
    """Whether the run and the bundles of build-MODEL are there."""
    folder = work / name.removeprefix("build-")
    return all((folder / file).exists() for file in ("run/run.json", "fp32.onnx", "int8.onnx"))


def others(folder: Path) -> list[Path]:
    """The bundles that quantization.py writes."""
    return [folder / f"{name}.onnx" for name in BASELINES]


def seconds_of(name: str) -> float:
    """The time limit of a benchmark, in seconds."""
    return next((limit for start, limit in LIMITS.items() if name.startswith(start)), 3600)


def commands(data: Path, clip: Path | None, work: Path, patience: float) -> dict[str, list[str]]:
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
        folder = work / model
        bundles = [f"--bundle={name}={folder / name}.onnx" for name in ("fp32", "int8")]
        if model in QUANTIZED:
            found[f"quantization-{model}"] = script(
                "quantization", "--run", folder / "run", "--bundle", folder / "fp32.onnx",
                "--output", folder,
            )  # fmt: skip
            bundles += [f"--other={path.stem}={path}" for path in others(folder)]
        limit = 0.8 * patience * seconds_of("inference-")
        found[f"inference-{model}"] = script(
            "inference", "--data", data, "--run", folder / "run", *bundles, "--limit", f"{limit:g}"
        )
        found[f"operators-{model}"] = script(
            "operators", "--data", data, folder / "fp32.onnx", folder / "int8.onnx"
        )
    found["command-light"] = script(
        "whole_command", "--data", data, "--model", work / "light" / "fp32.onnx"
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
        found[f"known-{model}"] = script("explanations", "known", "--model", model)
    bundle = ("--model", work / "light" / "fp32.onnx")
    found |= {
        "busy-machine": script("busy_machine", "--data", data),
        "interruptions": script("interruptions"),
        "distributed": script("distributed", "--data", data, "--model", "light"),
        "parquet": script("parquet", "--data", data, *bundle),
        "long-list": script("long_list", *bundle),
    }
    return found


def run(command: list[str], path: Path, limit: float) -> str:
    """Run one benchmark, scores on one thread, everything else on all cores; how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if command[0].endswith("scores.py"):
        environment["OMP_NUM_THREADS"] = "1"
    whole = [sys.executable, *command, "--json", str(path)]
    with subprocess.Popen(whole, env=environment, start_new_session=True) as process:
        try:
            return "failed" if process.wait(limit) else "measured"
        except subprocess.TimeoutExpired:
            return f"cut off at its limit of {limit:.0f} s,"
        finally:  # its own processes, too
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


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

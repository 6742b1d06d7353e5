"""Bundles compared with PyTorch running the same model, from files to labels.

    python benchmarks/inference.py --data DIR --run RUN --bundle fp32=model.onnx [--bundle …]

Every side predicts DIR's unlabelled list in its own process. The sides take turns of 256 pairs, so
that changes in the machine's speed affect all of them, and so do measurements of what the machine
can do: its decoding and its matrix products. All ratios are those of one turn. No turn begins
that would end after --limit. Prints medians and ratios, and writes them to --json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

from result import machine, write_result

SIDE = Path(__file__).with_name("inference_side.py")
TURN = 256
"""Pairs of a turn. In shorter ones, mmsent's last batch, which computes alone, weighs more."""
BASE = "PyTorch fp32"
GFLOP = {"clip": 11.0, "compact": 1.4}
"""The arithmetic of a pair of the task's dataset without padding: two for each weight's use.

clip: image 8.8, text of 29 tokens 2.2. compact: image 0.77, text of 30 tokens 0.65.
"""


class Side:
    """A process of inference_side.py."""

    def __init__(self, name: str, kind: str, source: Path, data: Path, seconds: float) -> None:
        """Start it, and wait at most ``seconds`` until it has predicted a few pairs.

        Raises RuntimeError with the reason if it has not.
        """
        end = time.monotonic() + seconds
        self.name, self.turns = name, list[dict[str, Any]]()
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, str(SIDE), kind, str(source), str(data), str(time.time())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        self.opened = self._read(seconds)
        self._read(end - time.monotonic())  # it is warm

    def ask(self, question: str, seconds: float) -> dict[str, Any]:
        """Send a line, and read the answer. Raises RuntimeError if there is none."""
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self._read(seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _read(self, seconds: float) -> dict[str, Any]:
        timer = Timer(max(0.0, seconds), self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        if not line:
            self.errors.seek(0)
            reason = f"no answer within {seconds:.0f} s" if late else self.errors.read().strip()
            raise RuntimeError(f"{self.name}: {reason}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    """Run all sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--run", type=Path, default=Path("runs/latest"))
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=FILE",
        help="a bundle that mmsent-export did not write, for example of quantization.py",
    )  # fmt: skip
    parser.add_argument("--bf16", action="store_true", help="also PyTorch with bf16 autocast")
    parser.add_argument(
        "--optimum", action="store_true", help="also optimum, which must be installed"
    )
    parser.add_argument("--repeat", type=int, default=3, help="how often to predict the list")
    parser.add_argument("--turn", type=int, default=TURN, metavar="PAIRS")
    parser.add_argument("--limit", type=float, default=270, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    end = time.monotonic() + options.limit
    with ExitStack() as stack:
        sides = open_sides(options, end, stack)
        pairs = sides[BASE].opened["pairs"]
        starts = list(range(0, max(1, pairs - options.turn // 2), options.turn)) * options.repeat
        take_turns(sides, starts, options, end)
        model = json.loads((options.run / "run.json").read_text())["model"]["name"]
        content = summarise(sides, model, options.limit)
    report(content)
    write_result(options.json, content)


def take_turns(
    sides: dict[str, Side], starts: list[int], options: argparse.Namespace, end: float
) -> None:
    """Let every side predict the pairs from each of ``starts``, as far as the time allows.

    Ends the command if the first turn takes twice the time that there is.
    """
    longest = 0.0
    for number, first in enumerate(starts, 1):
        began = time.monotonic()
        if number > 1 and began + longest > end:
            print(f"cut off after {number - 1} of {len(starts)} turns", file=sys.stderr)
            return
        for side in list(sides.values()):
            question = "parts" if side.name == "limits" else f"{first} {options.turn}"
            try:
                side.turns.append(side.ask(question, end + options.limit - time.monotonic()))
            except RuntimeError as error:
                if side.name in required(options):
                    sys.exit(f"{error}; the machine may be busy: try fewer pairs with --turn")
                print(f"{side.name} is left out: {str(error).splitlines()[-1]}", file=sys.stderr)
                del sides[side.name]
        longest = max(longest, time.monotonic() - began)
        print(f"turn {number} of {len(starts)}: {longest:.0f} s", file=sys.stderr)


def required(options: argparse.Namespace) -> dict[str, tuple[str, Path]]:
    """The kinds and sources of the sides without which nothing is measured."""
    wanted = {"limits": ("limits", options.run), BASE: ("torch-fp32", options.run)}
    for bundle in options.bundle or ("fp32=model.onnx",):
        name, _, file = bundle.partition("=")
        wanted[f"mmsent {name}"] = ("mmsent", Path(file))
    return wanted


def open_sides(options: argparse.Namespace, end: float, stack: ExitStack) -> dict[str, Side]:
    """All sides, after their first prediction. Those that can't be opened are left out.

    Ends the command if PyTorch or a bundle can't be opened.
    """
    wanted = required(options)
    for bundle in options.other:
        name, _, file = bundle.partition("=")
        wanted[name] = ("mmsent", Path(file))
    if options.bf16:
        wanted["PyTorch bf16"] = ("torch-bf16", options.run)
    if options.optimum:
        wanted["optimum fp32"] = ("optimum", options.run)
    if shutil.which(os.environ.get("CXX", "g++")):
        wanted["PyTorch compiled"] = ("torch-compiled", options.run)
    else:
        print("PyTorch compiled is left out: there is no C++ compiler", file=sys.stderr)
    sides = {}
    for name, (kind, source) in wanted.items():
        # The others are opened last, and get half of the time that is left.
        seconds = (end - time.monotonic()) / (1 if name in required(options) else 2)
        try:
            side = sides[name] = Side(name, kind, source, options.data, seconds)
            stack.callback(side.close)
            print(f"{name}: first prediction after {side.opened['first']:.1f} s", file=sys.stderr)
        except RuntimeError as error:
            if name in required(options):
                sys.exit(str(error))
            print(f"{name} is left out: {str(error).splitlines()[-1]}", file=sys.stderr)
    return sides


def summarise(sides: dict[str, Side], model: str, limit: float) -> dict[str, Any]:
    """Medians over the turns, spreads, ratios to PyTorch fp32 by turn, and limits."""
    machine_side = sides.pop("limits")
    base = sides[BASE].turns
    answers = [label for turn in base for label in turn["labels"]]
    found = {}
    for name, side in sides.items():
        rates = [len(turn["labels"]) / turn["seconds"] for turn in side.turns]
        labels = [label for turn in side.turns for label in turn["labels"]]
        last = side.ask("parts", limit)
        found[name] = {
            "pairs_per_second": statistics.median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
            "ratio": statistics.median(
                b["seconds"] / turn["seconds"] for b, turn in zip(base, side.turns)
            ),
            "same_labels": sum(a == b for a, b in zip(labels, answers)) / len(answers),
            "first_seconds": side.opened["first"],
            "peak_mb": last["peak_mb"],
            "parts": last["parts"],
        }
    limits = {
        key: statistics.median(turn["parts"][key] for turn in machine_side.turns)
        for key in ("decode", "fp32", "int8")
    }
    if work := GFLOP.get(model):
        for key in ("fp32", "int8"):
            limits[f"products_{key}"] = limits[key] / work
            limits[f"both_{key}"] = 1 / (1 / limits["decode"] + work / limits[key])
    return {
        "model": model,
        "pairs": len(answers),
        "turns": len(base),
        "limits": limits,
        "sides": found,
    }


def report(content: dict[str, Any]) -> None:
    """Print the tables."""
    here = machine()
    print(
        f"{content['model']}: {content['pairs']} pairs from files to labels in {content['turns']} "
        f"turns, {here['cores']} cores ({here['processor']}), median (slowest to fastest)"
    )
    width = max(map(len, content["sides"]))
    print(f"{'':>{width}}  pairs/s                 ratio  same labels  first  peak MB")
    for name, side in content["sides"].items():
        spread = f"({side['slowest']:.1f} to {side['fastest']:.1f})"
        print(
            f"{name:>{width}}  {side['pairs_per_second']:6.1f} {spread:<17} {side['ratio']:5.2f}"
            f"  {side['same_labels']:10.1%}  {side['first_seconds']:4.2f} s  {side['peak_mb']:6.0f}"
        )
    for name, side in content["sides"].items():
        if side["parts"]:
            parts = ", ".join(f"{key} {rate:.0f}" for key, rate in side["parts"].items())
            print(f"{name:>{width}}  its parts alone, pairs/s: {parts}")
    print("limits of this machine:", json.dumps(content["limits"]))


if __name__ == "__main__":
    main()

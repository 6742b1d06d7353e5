"""`mmsent serve` compared with mmsent-infer, SentimentModel.predict and a handwritten service.

    python benchmarks/serving.py --data DIR --model model.onnx [--by-hand]

Everything runs on DIR's unlabelled list, in turn, so that changes in the machine's speed affect all
sides. Measured are the pairs per second of mmsent-infer (without its start), of the service with 16
clients and, with --by-hand, of benchmarks/serving_by_hand.py (which requires FastAPI) with 16
clients; and the median latency of SentimentModel.predict, and of the service with one client.
Clients run on the same machine. Prints medians and ratios by repetition, and writes them to --json.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from result import write_result

HERE = Path(__file__).parent

PREDICT = """
import json, statistics, sys, time
from pathlib import Path
from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
model, folder, seconds = SentimentModel(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
rows = [(row.read_text(), row.read("image")) for row in open_dataset(folder / TEST_LIST).rows()]
spent, start = [], time.perf_counter()
for turn in range(10**9):
    if time.perf_counter() - start > seconds:
        break
    before = time.perf_counter()
    model.predict(*rows[turn % len(rows)])
    spent.append(time.perf_counter() - before)
print(json.dumps({"median_ms": 1000 * statistics.median(spent[5:])}))
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--model", type=Path, required=True, help="a bundle")
    parser.add_argument(
        "--by-hand", action="store_true", help="also FastAPI, which must be installed"
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = [measure(options) for _ in range(options.repeat)]
    report(rounds, options.clients)
    write_result(options.json, {"clients": options.clients, "rounds": rounds})


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One repetition."""
    bundle, data, seconds = options.model, options.data, options.seconds
    everything = f"0 {sys.maxsize}"
    infer = run("inference_side.py", "mmsent", bundle, data, time.time(), asked=everything)
    wanted: list[str] = infer["labels"]
    found = {"infer": len(wanted) / infer["seconds"]}
    serve = ("-m", "mmsent", "serve", bundle, "--port")
    many, cpu = ask(serve, data, options.clients, seconds)
    found |= {"served": rate(many, wanted), "served_p99_ms": many["p99_ms"], "served_cpu_ms": cpu}
    if options.by_hand:
        many, cpu = ask((str(HERE / "serving_by_hand.py"), bundle), data, options.clients, seconds)
        found |= {"by_hand": rate(many, wanted), "by_hand_p99_ms": many["p99_ms"]}
        found["by_hand_cpu_ms"] = cpu
    found["predict_ms"] = run("-c", PREDICT, bundle, data, seconds)["median_ms"]
    one, _ = ask(serve, data, 1, seconds)
    rate(one, wanted)
    found["one_client_ms"] = one["median_ms"]
    return found


def ask(
    service: tuple[str, ...], data: Path, clients: int, seconds: float
) -> tuple[dict[str, Any], float]:
    """The clients' answers, and the service's CPU milliseconds per pair."""
    port = free_port()
    with serving(*service, port, port=port) as process:
        before = processor_seconds(process)
        asked = run("serving_client.py", port, data, clients, seconds)
        spent = processor_seconds(process) - before
    return asked, 1000 * spent / (asked["requests"] + asked["warm_up"])


def processor_seconds(process: int) -> float:
    """The CPU seconds of a process so far, in all its threads (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(asked: dict[str, Any], wanted: list[str]) -> float:
    """Pairs per second; every answer must be correct."""
    wrong = [place for place, label in asked["labels"].items() if label != wanted[int(place)]]
    if asked["failures"] or wrong:
        raise SystemExit(f"{len(wrong)} wrong answers; refused: {asked['failures'][:3]}")
    return float(asked["requests"] / asked["seconds"])


def report(rounds: list[dict[str, float]], clients: int) -> None:
    """Print medians (slowest to fastest) and the ratios within each repetition."""
    print(f"{clients} clients, median (lowest to highest) of {len(rounds)} repetitions")
    for key in rounds[0]:
        show(key, [each[key] for each in rounds])
    show("served / infer", [each["served"] / each["infer"] for each in rounds], "at least 0.8")
    if "by_hand" in rounds[0]:
        ratios = [each["served"] / each["by_hand"] for each in rounds]
        show("served / by hand", ratios, "at least 1.3")
    extra = [each["one_client_ms"] - 1.3 * each["predict_ms"] for each in rounds]
    show("one client - 1.3 x predict, ms", extra, "at most 3")


def show(title: str, values: list[float], goal: str = "") -> None:
    """One line of a table."""
    spread = f"({min(values):.2f} to {max(values):.2f})"
    print(f"{title:>32}  {statistics.median(values):9.2f} {spread:<22} {goal}")


def run(*arguments: object, asked: str = "") -> dict[str, Any]:
    """The last line of JSON that a script in this folder, or Python with options, prints."""
    words = list(map(str, arguments))
    if words[0].endswith(".py"):
        words[0] = str(HERE / words[0])
    done = subprocess.run([sys.executable, *words], input=asked, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def free_port() -> int:
    """An unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(*arguments: object, port: int) -> Iterator[int]:
    """Run a service until the block ends, which starts when it answers; yields its process id."""
    words = [sys.executable, *map(str, arguments)]
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(words, stdout=null, stderr=null)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{words} does not start") from None
                time.sleep(0.1)
        time.sleep(1)  # it listens before its workers are ready
        yield process.pid
    finally:
        process.terminate()
        process.wait(90)


if __name__ == "__main__":
    main()

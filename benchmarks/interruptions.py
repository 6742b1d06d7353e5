"""Kill trainings and inferences (SIGKILL) at random moments, then resume: is the result the same?

Every process is a fork of this one, which has imported everything and computed nothing, so that
work is killed and not imports. The data is synthetic; the same --seed kills at the same shares of
the time that the uninterrupted process takes.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime  # noqa: F401  imported once, for all forks
import torch
from PIL import Image

import mmsent.predict.infer  # noqa: F401
import mmsent_training.train  # noqa: F401
from mmsent import cli
from mmsent.data.folder import image_file, text_file
from mmsent.files.machine import available_cores
from mmsent.predict.batches import BATCH_SIZE
from mmsent.predict.model import SentimentModel
from mmsent_training.cli import train
from result import write_result

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.small_bundle import write_small_bundle

ROWS = 20_000


def fork(command, *arguments):
    """Run a command in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.argv = ["mmsent", *map(str, arguments)]
        code = 99
        try:
            cli.run(command)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            os._exit(code)
    return child


def wait(child):
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def whole(command, *arguments):
    """Run to the end; returns the seconds it took."""
    start = time.perf_counter()
    code = wait(fork(command, *arguments))
    assert code == 0, (arguments, code)
    return time.perf_counter() - start


def killed(command, *arguments, after):
    """Kill after some seconds; returns whether the process was still working."""
    child = fork(command, *arguments)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return wait(child) == -signal.SIGKILL


def weights_and_figures(run):
    record = json.loads((run / "run.json").read_text())
    weights = hashlib.sha256((run / "checkpoint.safetensors").read_bytes()).hexdigest()
    return weights, record["metrics"], record["kept_epoch"], record["epochs"]


def trainings(folder, kills, rng):
    data = folder / "pairs"
    whole(cli.cli, "sample-data", data, "--pairs", 60)
    options = ("--model", "light", "--epochs", 5, "--data", data)
    seconds = whole(train, *options, "--output", folder / "whole")
    wanted = weights_and_figures(folder / "whole")
    number = hits = same = 0
    while hits < kills:  # a kill that came after the end does not count
        number += 1
        run = folder / f"run-{number}"
        hits += killed(train, *options, "--output", run, after=rng.uniform(0, seconds))
        if (run / "unfinished.json").exists() or (run / "run.json").exists():
            whole(train, "--resume", run)
        else:  # killed before the run existed
            for path in run.glob("*") if run.exists() else ():
                path.unlink()
            for path in run.glob(".*") if run.exists() else ():
                path.unlink()
            whole(train, *options, "--output", run)
        same += weights_and_figures(run) == wanted
        print(f"training {number}: {hits} kills, {same} the same", file=sys.stderr)
    return {"seconds": seconds, "processes": number, "kills": hits, "same": same}


def make_rows(folder):
    """20,000 pairs: 200 different ones under many names, by hard links."""
    (folder / "data").mkdir(parents=True)
    rng = random.Random(0)
    for number in range(ROWS):
        if number < 200:
            with open(text_file(folder, str(number)), "w") as file:
                file.write(" ".join(rng.choices(["fun", "rain", "a", "day"], k=number % 7)))
            picture = Image.new("RGB", (16, 16), tuple(rng.randrange(256) for _ in range(3)))
            picture.save(image_file(folder, str(number)), "PNG")
        else:
            for place in (text_file, image_file):
                os.link(place(folder, str(number % 200)), place(folder, str(number)))
    lines = [f"{number},null" for number in range(ROWS)]
    (folder / "list.csv").write_text("\n".join(["guid,tag", *lines]) + "\n")


def count_computed(path):
    """From now on, in all forks, write a byte to ``path`` for every computed pair."""
    run = SentimentModel.run

    def counted(self, ids, pixels):
        found = run(self, ids, pixels)
        with open(path, "ab", buffering=0) as file:
            file.write(bytes(len(ids)))
        return found

    SentimentModel.run = counted


def inferences(folder, kills, rng):
    make_rows(folder / "rows")
    computed = folder / "computed"
    count_computed(computed)
    bundle = write_small_bundle(folder / "model.onnx")
    options = (folder / "rows" / "list.csv", "--model", bundle, "--probabilities", "--output")
    output = folder / "whole.csv"
    seconds = whole(cli.infer, *options, output)
    wanted = output.read_bytes()
    assert len(wanted.splitlines()) == ROWS + 1
    number = hits = same = repeated = 0
    while hits < kills:
        number += 1
        computed.unlink()
        output = folder / f"out-{number}.csv"
        hits += killed(cli.infer, *options, output, after=rng.uniform(0, seconds))
        assert not output.exists() or output.read_bytes() == wanted
        finished = output.exists()  # then there is nothing to resume, and it starts over
        whole(cli.infer, *options, output, "--resume")
        same += output.read_bytes() == wanted
        if not finished:
            repeated = max(repeated, computed.stat().st_size - ROWS)
        output.unlink()
        print(f"inference {number}: {hits} kills, {same} the same", file=sys.stderr)
    return {
        "rows": ROWS,
        "seconds": seconds,
        "processes": number,
        "kills": hits,
        "same": same,
        "most_repeated": repeated,  # pairs: each worker may have been about to record a batch
        "workers_batches": available_cores() * BATCH_SIZE,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["trainings", "inferences"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    assert not torch.cuda.is_initialized()
    rng, figures = random.Random(arguments.seed), {}
    for name, measure in (("trainings", trainings), ("inferences", inferences)):
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                figures[name] = measure(Path(folder), arguments.kills, rng)
                print(name, json.dumps(figures[name]), flush=True)
    write_result(arguments.json, figures)


if __name__ == "__main__":
    main()

"""Training with two processes, started by torchrun, compared with one."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import image_file
from mmsent_training.runs.resume import STATE

from .clip_checkpoint import write_checkpoint

# 45 training pairs in batches of 11: the last batch has a single pair.
PAIRS, BATCH = 50, 11


@pytest.fixture(scope="module")
def sample(run_command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "dataset"
    result = run_command("mmsent", "sample-data", folder, "--pairs", PAIRS, cwd=folder.parent)
    assert result.code == 0
    return folder


def launcher(processes, *arguments, program=("-m", "mmsent_training")):
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    options = ("--standalone", "--nproc-per-node", processes, *program)
    return [str(item) for item in (torchrun, *options, *arguments)]


def launch(*arguments, cwd, processes=2, **how):
    env = os.environ | {"MMSENT_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        launcher(processes, *arguments, **how), cwd=cwd, env=env, capture_output=True, text=True,
        timeout=900,  # compact pretrains on texts first
    )  # fmt: skip


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_outcome(run, other):
    """Scores, predictions and probabilities agree in every digit in the files."""
    for mine, theirs in zip(
        read_csv(run / "history.csv"), read_csv(other / "history.csv"), strict=True
    ):
        assert mine | {"seconds": None} == theirs | {"seconds": None}
    predictions = [folder / "validation_predictions.csv" for folder in (run, other)]
    assert predictions[0].read_text() == predictions[1].read_text()


def weights(run):
    return load_file(run / "checkpoint.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--model", "light", "--modality", "text"),
        ("--model", "light"),
        ("--model", "light", "--preset", "reference", "--modality", "image"),
        ("--model", "compact"),
        ("--model", "clip", "--clip", "clip", "--freeze"),
        ("--model", "clip", "--clip", "clip", "--no-freeze"),
    ],
    ids=" ".join,
)
def test_two_processes_equal_one_bit_for_bit(sample, tmp_path, options):
    """With the models' augmentation, dropout, missing inputs and batch norms."""
    write_checkpoint(tmp_path / "clip")
    options = (*options, "--data", sample, "--epochs", 2, "--device", "cpu")
    options = (*options, "--batch-size", BATCH, "--gradient-accumulation-steps", 2)
    for name, processes in (("one", 1), ("two", 2)):
        done = launch(*options, "--output", name, cwd=tmp_path, processes=processes)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # each process encodes its own share
    assert_same_outcome(tmp_path / "two", tmp_path / "one")
    together = weights(tmp_path / "two")
    for name, value in weights(tmp_path / "one").items():
        assert (together[name] == value).all(), name


@pytest.mark.slow
def test_only_one_process_prints_and_writes(run_command, sample, tmp_path):
    options = ("--model", "light", "--modality", "text", "--data", sample, "--epochs", 1)
    done = launch(*options, "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for once in (
        "training the light model on 45 pairs, validating on 5; cpu, fp32, 2 processes",
        "epoch 1/1: ",
        "wrote run\n",
    ):
        assert done.stderr.count(once) == 1, done.stderr
    assert done.stdout.count("majority baseline") == 1
    alone = tmp_path / "alone"
    assert run_command("mmsent", "train", *options, "--output", alone, cwd=tmp_path).code == 0
    names = {path.name for path in alone.iterdir()}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert_same_outcome(tmp_path / "run", alone)
    assert run_command("mmsent-export", "onnx", "run", cwd=tmp_path).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "reference"])
def test_more_processes_equal_one_except_for_rounding(sample, tmp_path, preset):
    """At the full learning rate, for two epochs, in float64, where rounding is negligible.

    Three processes share steps of four batches, and a last step of one batch.
    """
    program = (Path(__file__).with_name("in_float64.py"),)
    options = ("--model", "light", "--preset", preset, "--data", sample, "--epochs", 2)
    options = (
        *options,
        "--batch-size",
        BATCH,
        "--gradient-accumulation-steps",
        4,
        "--device",
        "cpu",
    )
    for name, processes in (("one", 1), ("three", 3)):
        done = launch(
            *options, "--output", name, cwd=tmp_path, processes=processes, program=program
        )
        assert done.returncode == 0, done.stderr
    together = weights(tmp_path / "three")
    for name, value in weights(tmp_path / "one").items():
        assert value.dtype == np.float64 or np.issubdtype(value.dtype, np.integer)
        assert np.allclose(together[name], value, rtol=1e-6, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_leaves_a_resumable_run(run_command, sample, tmp_path, number):
    options = ("--model", "light", "--modality", "text", "--data", sample, "--batch-size", 2)
    with subprocess.Popen(
        launcher(2, *options, "--epochs", 8, "--output", "run"),
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not (tmp_path / "run" / STATE).exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("mmsent train --resume run` resumes") == 1, err
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / ".lock").exists()
    done = launch("--resume", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["epochs"] == 8
    done = launch(*options, "--epochs", 8, "--output", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = weights(tmp_path / "whole")
    for name, value in weights(tmp_path / "run").items():
        assert (whole[name] == value).all(), name


@pytest.mark.slow
def test_an_error_in_the_data_is_one_message(sample, tmp_path):
    data = tmp_path / "data"
    subprocess.run(["cp", "-r", sample, data], check=True)
    guid = next(open_dataset(data).select(TRAINING).rows()).guid
    Path(image_file(data, guid)).write_bytes(b"no image")
    done = launch("--model", "light", "--data", data, "--output", "run", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count(f"guid '{guid}'") == 1, done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_more_processes_than_batches_per_step_are_refused(sample, tmp_path):
    options = ("--model", "light", "--data", sample, "--output", "run")
    done = launch(*options, "--batch-size", 12, cwd=tmp_path, processes=3)
    assert done.returncode != 0
    assert done.stderr.count("3 processes can't share a step of 2 batches") == 1
    assert done.stderr.count("--gradient-accumulation-steps 3 --batch-size 8") == 1
    assert not (tmp_path / "run").exists()

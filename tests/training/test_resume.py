"""Resuming training that was killed, stopped, or out of disk space."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn

import mmsent_training.train as training
from mmsent.data.dataset import TRAINING, Reading, open_dataset
from mmsent.data.folder import text_file
from mmsent.errors import Interrupted, MmsentError
from mmsent_training.loop import Event
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.runs.resume import START, STATE, read_state, write_state

from ..command import undrawn
from .clip_checkpoint import write_checkpoint
from .posts import COLUMNS, read_lines, write_lines, write_posts

EPOCHS = 2


class Killed(BaseException):
    """Simulates a SIGKILL: no code may rely on catching it."""


def train(run_command, data, output, *options, cwd):
    arguments = ("--epochs", EPOCHS, "--data", data, "--output", output)
    return run_command("mmsent", "train", *arguments, *options, cwd=cwd)


def resume(run_command, run, *options):
    return run_command("mmsent", "train", "--resume", run, *options, cwd=run.parent)


def train_until(data, run, event, do, model="light", **options):
    """Train in this process like the command, and call ``do`` at ``event``."""
    choice = choose(model, options)
    flags = {name: value for name, value in options.items() if isinstance(value, bool)}
    settings = default_settings(choice.model, "cpu", epochs=EPOCHS, **flags)

    def callback(happened):
        if happened == event:
            do()

    with undrawn():
        return training.train(data, settings, choice, run, callback=callback)


def kill():
    raise Killed


def outcome(run):
    """What an interruption must not change: the weights' bytes, and all figures except times."""
    record = json.loads((run / "run.json").read_text())
    for name in ("created", "seconds"):
        del record[name]
    history = [line.rpartition(",")[0] for line in (run / "history.csv").read_text().splitlines()]
    predictions = (run / "validation_predictions.csv").read_bytes()
    return (run / "checkpoint.safetensors").read_bytes(), record, history, predictions


@pytest.fixture(scope="module")
def sample(run_command, tmp_path_factory):
    """A dataset with two steps per epoch."""
    folder = tmp_path_factory.mktemp("small") / "dataset"
    assert run_command("mmsent", "sample-data", folder, "--pairs", 40, cwd=folder.parent).code == 0
    return folder


@pytest.fixture(scope="module")
def whole(run_command, sample, tmp_path_factory):
    """The run of an uninterrupted training."""
    run = tmp_path_factory.mktemp("whole") / "run"
    result = train(run_command, sample, run, "--model", "light", cwd=run.parent)
    assert result.code == 0, result.err
    return run


@pytest.fixture(scope="module")
def killed(sample, tmp_path_factory):
    """A run that was killed in its last epoch. Read-only."""
    run = tmp_path_factory.mktemp("killed") / "run"
    with pytest.raises(Killed):
        train_until(sample, run, Event("step", EPOCHS, 1), kill)
    return run


@pytest.fixture
def unfinished(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "run")


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(Event("evaluated", 1), marks=pytest.mark.slow),
        pytest.param(Event("saved", 1), marks=pytest.mark.slow),
        Event("step", 2, 1),
        pytest.param(Event("trained", EPOCHS), marks=pytest.mark.slow),
        Event("written", EPOCHS),
    ],
    ids=str,
)
def test_killed_anywhere_it_resumes_to_the_same_run(run_command, sample, whole, tmp_path, event):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_until(sample, run, event, kill)
    result = resume(run_command, run)
    assert result.code == 0, result.err
    assert outcome(run) == outcome(whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize(
    ("event", "rows"),
    [(Event("evaluated", 1), 0), (Event("step", 2, 1), 1), (Event("saved", 2), 2)],
)
def test_the_history_grows_with_every_epoch(sample, whole, tmp_path, event, rows):
    with pytest.raises(Killed):
        train_until(sample, tmp_path / "run", event, kill)
    path = tmp_path / "run" / "history.csv"
    lines = path.read_text().splitlines() if path.exists() else [""]
    wanted = (whole / "history.csv").read_text().splitlines()[: rows + 1]

    def without_seconds(lines):
        return [line.rpartition(",")[0] for line in lines]

    assert without_seconds(lines[1:]) == without_seconds(wanted[1:])


@pytest.mark.slow
def test_the_times_of_all_parts_add_up(run_command, sample, tmp_path, monkeypatch):
    """The clock advances a minute per step; there are two steps per epoch, and one is repeated."""
    ahead = [0.0]
    real = time.perf_counter
    monkeypatch.setattr("mmsent_training.train.time.perf_counter", lambda: real() + ahead[0])

    def go_ahead(happened):
        ahead[0] += 60 * (happened.kind == "step")
        if happened == Event("step", EPOCHS, 1):
            kill()

    settings, choice = default_settings("light", "cpu", epochs=EPOCHS), choose("light", {})
    with pytest.raises(Killed):
        training.train(sample, settings, choice, tmp_path / "run", callback=go_ahead)
    assert resume(run_command, tmp_path / "run").code == 0
    seconds = json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]
    assert 120 < seconds < 180
    assert f"in {seconds:.0f} s on" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    "freeze", ["--freeze", pytest.param("--no-freeze", marks=pytest.mark.slow)]
)
def test_clip_resumes_to_the_same_run(run_command, sample, tmp_path, monkeypatch, freeze):
    monkeypatch.setenv("MMSENT_CACHE", str(tmp_path / "cache"))
    clip = write_checkpoint(tmp_path / "clip")
    options = ("--model", "clip", "--clip", clip, freeze)
    assert train(run_command, sample, tmp_path / "whole", *options, cwd=tmp_path).code == 0
    with pytest.raises(Killed):
        train_until(
            sample, tmp_path / "run", Event("evaluated", 2), kill, "clip",
            clip=str(clip), freeze=freeze == "--freeze",
        )  # fmt: skip
    clip.rename(tmp_path / "moved")
    result = resume(run_command, tmp_path / "run", "--clip", tmp_path / "moved")
    assert result.code == 0, result.err
    weights = load_file(tmp_path / "run" / "checkpoint.safetensors")
    for name, value in load_file(tmp_path / "whole" / "checkpoint.safetensors").items():
        assert (weights[name] == value).all(), name


@pytest.mark.slow
def test_compact_resumes_to_the_same_run(run_command, sample, tmp_path, monkeypatch):
    """Also its averaged weights."""
    monkeypatch.setenv("MMSENT_CACHE", str(tmp_path / "cache"))
    options = ("--model", "compact")
    assert train(run_command, sample, tmp_path / "whole", *options, cwd=tmp_path).code == 0
    with pytest.raises(Killed):
        train_until(sample, tmp_path / "run", Event("evaluated", 2), kill, "compact")
    result = resume(run_command, tmp_path / "run")
    assert result.code == 0, result.err
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    """Posts with their own split, and images in a folder that the list does not name."""
    folder = tmp_path_factory.mktemp("posts")
    write_posts(folder / "posts")
    for path in (folder / "posts").glob("*.jsonl"):
        path.rename(folder / path.name)
    return folder


def posts_of(folder):
    """The options that name the posts."""
    return (
        "--data", folder / "train.jsonl", "--validation", folder / "dev.jsonl",
        "--images", folder / "posts",
    )  # fmt: skip


def test_it_reads_its_data_with_the_original_options(run_command, posts, tmp_path, monkeypatch):
    """In a different working folder, and after the data was moved."""
    arguments = (*posts_of(posts), *COLUMNS, "--labels", "1,0")
    whole = run_command(
        "mmsent", "train", "--model", "light", "--epochs", EPOCHS, *arguments,
        "--output", tmp_path / "whole", cwd=tmp_path,
    )  # fmt: skip
    assert whole.code == 0, whole.err
    choice = choose("light", {})
    settings = default_settings("light", "cpu", epochs=EPOCHS)
    reading = Reading(columns={"guid": "id", "image": "img"}, images=Path("posts"))
    monkeypatch.chdir(posts)

    def callback(event):
        if event == Event("step", 2, 1):
            raise Killed

    with pytest.raises(Killed):
        training.train(
            Path("train.jsonl"), settings, choice, tmp_path / "run",
            validation=Path("dev.jsonl"), labels=["1", "0"], reading=reading, callback=callback,
        )  # fmt: skip
    monkeypatch.undo()
    moved = shutil.copytree(tmp_path / "run", tmp_path / "moved")
    assert resume(run_command, tmp_path / "run").code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    posts = shutil.copytree(posts, tmp_path / "posts")
    one, other = posts / "train.jsonl", posts / "dev.jsonl"
    train, validation = read_lines(one), read_lines(other)
    write_lines(one, train[:-1])
    write_lines(other, [train[-1], *validation])
    changed = resume(run_command, moved, *posts_of(posts))
    assert changed.code == 2
    assert "the validation pairs have changed" in changed.err
    write_lines(one, train)
    write_lines(other, validation)
    result = resume(run_command, moved, *posts_of(posts))
    assert result.code == 0, result.err
    for got, wanted in zip(outcome(moved)[::2], outcome(tmp_path / "whole")[::2]):
        assert got == wanted


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_stops_after_the_step_and_says_how_to_resume(
    run_command, sample, whole, tmp_path, number
):
    run, before = tmp_path / "run", signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"mmsent train --resume {run}") as stopped:
        train_until(sample, run, Event("step", 2, 1), lambda: os.kill(os.getpid(), number))
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    assert resume(run_command, run).code == 0
    assert outcome(run) == outcome(whole)


@pytest.mark.slow
def test_a_process_killed_by_sigkill(run_command, sample, whole, tmp_path):
    run = tmp_path / "run"
    program = str(Path(sys.executable).with_name("mmsent"))
    arguments = ["train", "--model", "light", "--epochs", str(EPOCHS), "--data", str(sample)]
    with subprocess.Popen([program, *arguments, "--output", str(run)]) as process:
        while not (run / STATE).exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert resume(run_command, run).code == 0
    assert outcome(run) == outcome(whole)


def test_an_unfinished_run_is_not_exported_and_says_how_to_finish_it(run_command, unfinished):
    result = run_command("mmsent-export", "onnx", unfinished, cwd=unfinished.parent)
    assert result.code == 2
    assert f"unfinished run; `mmsent train --resume {unfinished}`" in result.err


def test_an_unfinished_run_is_not_overwritten(run_command, sample, unfinished):
    result = train(run_command, sample, unfinished, cwd=unfinished.parent)
    assert result.code == 2
    assert f"unfinished run; `mmsent train --resume {unfinished}`" in result.err


def test_a_finished_run_cannot_be_resumed(run_command, whole):
    before = outcome(whole)
    result = resume(run_command, whole)
    assert result.code == 0
    assert "is finished" in result.err
    assert outcome(whole) == before


def test_a_folder_that_is_not_a_run_is_refused(run_command, tmp_path):
    result = resume(run_command, tmp_path / "none")
    assert result.code == 2
    assert "is not an unfinished run" in result.err


def test_a_run_keeps_its_settings(run_command, unfinished):
    result = resume(run_command, unfinished, "--batch-size", 3, "--seed", 42, "--labels", "a,b")
    assert result.code == 2
    assert "leave out --batch-size, --labels, --seed" in result.err


def test_the_dataset_may_move_but_not_change(run_command, sample, whole, unfinished, tmp_path):
    moved = shutil.copytree(sample, tmp_path / "moved")
    start = json.loads((unfinished / START).read_text())
    start["data"]["path"] = str(tmp_path / "gone")
    (unfinished / START).write_text(json.dumps(start))
    gone = resume(run_command, unfinished)
    assert gone.code == 2
    assert f"{tmp_path / 'gone'}" in gone.err
    text = Path(text_file(moved, next(open_dataset(moved).select(TRAINING).rows()).guid))
    content = text.read_bytes()
    text.write_bytes(b"another " + content)
    changed = resume(run_command, unfinished, "--data", moved)
    assert changed.code == 2
    assert "has changed" in changed.err
    text.write_bytes(content)
    assert resume(run_command, unfinished, "--data", moved).code == 0
    assert outcome(unfinished)[0] == outcome(whole)[0]


def test_other_libraries_are_refused_by_name(run_command, unfinished):
    start = json.loads((unfinished / START).read_text())
    start["libraries"]["torch"] = "1.0"
    (unfinished / START).write_text(json.dumps(start))
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"torch was 1.0 and is {torch.__version__.split('+')[0]}" in result.err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"settings": 3}', b"\xff", b"null"])
def test_a_damaged_start_is_refused(run_command, unfinished, content):
    (unfinished / START).write_bytes(content)
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"{START} can't be read" in result.err


@pytest.mark.parametrize(
    "settings",
    [{"epochs": "3"}, {"epochs": 0}, {"batch_size": -1}, {"learning_rate": None}, {"device": 3},
     {"augment": "no"}, {"seed": -1}, {"gradient_accumulation_steps": True},
     {"modality": ["both"]}],
)  # fmt: skip
def test_settings_of_another_kind_are_refused(run_command, unfinished, settings):
    start = json.loads((unfinished / START).read_text())
    start["settings"] |= settings
    (unfinished / START).write_text(json.dumps(start))
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"$.settings.{next(iter(settings))}`" in result.err


@pytest.mark.parametrize(
    ("change", "where"),
    [({"path": 3}, "path"), ({"path": None}, "path"), ({"path": "a\0b"}, "path"),
     ({"validation": []}, "validation"),
     ({"labels": "ab"}, "labels"), ({"labels": [1]}, "labels[0]"), ({"reading": 3}, "reading"),
     ({"reading": {"columns": {"evil": "x"}}}, "reading.columns"),
     ({"reading": {"columns": {"text": 3}}}, "reading.columns[...]"),
     ({"reading": {"images": 3}}, "reading.images"),
     ({"reading": {"allow_missing": "no"}}, "reading.allow_missing")],
)  # fmt: skip
def test_data_of_another_kind_are_refused(run_command, unfinished, change, where):
    start = json.loads((unfinished / START).read_text())
    start["data"] |= change
    (unfinished / START).write_text(json.dumps(start))
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"$.data.{where}`" in result.err


@pytest.mark.parametrize("threads", [0, -1, 10**6, 10**30])
def test_a_number_of_threads_that_cannot_be_is_refused(run_command, unfinished, threads):
    start = json.loads((unfinished / START).read_text())
    (unfinished / START).write_text(json.dumps(start | {"threads": threads}))
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert "$.threads`" in result.err


@pytest.mark.parametrize("damage", ["empty", "cut", "foreign"])
def test_a_damaged_state_is_refused(run_command, unfinished, damage):
    state = unfinished / STATE
    if damage == "foreign":
        save_file({"0": np.zeros(3)}, state, metadata={"mmsent.state": '{"tensor": "1"}'})
    else:
        os.truncate(state, 0 if damage == "empty" else state.stat().st_size // 2)
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"{STATE} is damaged" in result.err


@pytest.mark.parametrize(
    "change",
    [{"result": {}}, {"result": {"history": [{"epoch": "x"}], "kept": None}},
     {"result": {"history": [], "kept": "x"}}, {"seconds": "x"}, {"module": "x"},
     {"optimizer": {}}, {"scheduler": {"optimizer": 5}}, {"scheduler": 5}, None],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(run_command, unfinished, change):
    state = read_state(unfinished)
    write_state(unfinished, {} if change is None else state | change)
    result = resume(run_command, unfinished)
    assert result.code == 2
    assert f"{STATE} does not fit the run" in result.err


def test_the_tokenizer_is_that_of_the_weights(run_command, whole, unfinished):
    (unfinished / "tokenizer.json").write_text("{}")  # of another run
    assert resume(run_command, unfinished).code == 0
    written = (unfinished / "tokenizer.json").read_bytes()
    assert written == (whole / "tokenizer.json").read_bytes()


def test_two_processes_cannot_resume_one_run(run_command, sample, tmp_path):
    run, results = tmp_path / "run", []

    def resume_meanwhile():
        results.append(resume(run_command, run))
        raise Killed

    with pytest.raises(Killed):
        train_until(sample, run, Event("step", 1, 1), resume_meanwhile)
    assert results[0].code == 2
    assert "another process is already training" in results[0].err


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_earlier_epochs_are_kept(run_command, sample, whole, tmp_path):
    """A limit on the size of files simulates it."""
    run, limit = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))

    try:
        with pytest.raises(MmsentError, match="File too large") as failed:
            train_until(sample, run, Event("evaluated", 2), full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert failed.value.exit_code == 1
    assert str(run / STATE) in str(failed.value)
    assert f"mmsent train --resume {run}" in str(failed.value)
    assert resume(run_command, run).code == 0
    assert outcome(run) == outcome(whole)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.lists(inner).map(tuple)
            | st.dictionaries(st.integers() | st.text(), inner)
        ),
        max_leaves=9,
    )
)
def test_a_state_is_restored_exactly(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("state")
    write_state(folder, {"value": value})
    assert read_state(folder) == {"value": value}


def test_tensors_keep_their_memory_layout(tmp_path):
    weight = torch.randn(8, 3, 5, 5).to(memory_format=torch.channels_last)
    shared = torch.arange(6.0).view(2, 3)
    empty, half = torch.empty(0, 3), torch.randn(4).bfloat16()
    tensors = {"weight": weight, "same": [shared, shared.T], "rest": (empty, half, weight.sum())}
    write_state(tmp_path, tensors)
    back = read_state(tmp_path)
    assert back is not None
    for got, wanted in (
        (back["weight"], weight), (back["same"][1], shared.T), (back["rest"][1], half),
        (back["rest"][0], empty), (back["rest"][2], weight.sum()),
    ):  # fmt: skip
        assert torch.equal(got, wanted)
        assert got.stride() == wanted.stride()
        assert got.dtype == wanted.dtype
    assert back["same"][0].data_ptr() != back["same"][1].data_ptr()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.LBFGS(p, history_size=3),
        lambda p: torch.optim.Adagrad(p),
    ],
    ids=["AdamW", "SGD", "LBFGS", "Adagrad"],
)
def test_any_optimizer_can_be_resumed(tmp_path, make):
    torch.manual_seed(0)
    inputs, wanted = torch.randn(16, 4), torch.randn(16, 1)

    def steps(model, optimizer, count):
        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), wanted)
            loss.backward()
            return loss

        for _ in range(count):
            optimizer.step(closure)

    model = nn.Linear(4, 1)
    optimizer = make(model.parameters())
    steps(model, optimizer, 3)
    write_state(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    other = nn.Linear(4, 1)
    resumed = make(other.parameters())
    state = read_state(tmp_path)
    assert state is not None
    other.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    steps(model, optimizer, 3)
    steps(other, resumed, 3)
    assert torch.equal(model.weight, other.weight)

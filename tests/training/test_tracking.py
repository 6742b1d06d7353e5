"""`mmsent train --log-to`: each library reads its records back, and nothing else changes.

Each library is an extra; the tests of a library that is not installed are skipped.
"""

import csv
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mmsent_training.train as training
from mmsent_training.loop import Event
from mmsent_training.models.registry import choose, default_settings
from mmsent_training.tracking import LIBRARIES, tracked, tracking

from ..command import Command, undrawn

SCORES = ("train_loss", "validation_loss", "accuracy", "macro_f1", "learning_rate", "seconds")
EPOCHS = 3
Curves = dict[str, list[tuple[int, float]]]


class Killed(BaseException):
    """Simulates a SIGKILL."""


def read_tensorboard(run: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return {name: [(row.step, row.value) for row in found.Scalars(name)] for name in SCORES}


def mlflow_run(run: Path) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient((run / "mlruns").absolute().as_uri())
    experiment = client.get_experiment_by_name("mmsent")
    assert experiment
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def read_mlflow(run: Path) -> Curves:
    client, found = mlflow_run(run)
    return {
        name: [(row.step, row.value) for row in client.get_metric_history(found.info.run_id, name)]
        for name in SCORES
    }


@pytest.fixture(autouse=True)
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow reads a folder only if this variable is set."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


READERS: dict[str, Callable[[Path], Curves]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
}


def needs(name: str) -> Any:
    missing = find_spec(name) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{name} is not installed"))


def history(run: Path) -> Curves:
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [(int(row["epoch"]), float(row[name])) for row in rows] for name in SCORES}


def assert_same(found: Curves, wanted: Curves) -> None:
    for name in SCORES:
        assert [step for step, _ in found[name]] == [step for step, _ in wanted[name]]
        values = [value for _, value in wanted[name]]
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-5, abs=1e-6)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Records lookups of and connections to other machines."""
    wanted: list[object] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connecting(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            wanted.append(address)
        connect(self, address)

    def looking_up(host: Any, *others: Any, **named: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", None):
            wanted.append(host)
        return look_up(host, *others, **named)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    monkeypatch.setattr(socket, "getaddrinfo", looking_up)
    for name in ("CI", "PYTEST_CURRENT_TEST"):  # which turn off MLflow's telemetry
        monkeypatch.delenv(name, raising=False)
    yield wanted
    assert wanted == []


def train_until(data: Path, run: Path, name: str, event: Event) -> None:
    settings = default_settings("light", "cpu", epochs=EPOCHS)

    def callback(happened: Event) -> None:
        track(happened)
        if happened == event:
            raise Killed

    with undrawn(), pytest.raises(Killed), tracking([name], settings) as track:
        training.train(data, settings, choose("light", {}), run, callback=callback)


@pytest.mark.parametrize("name", [needs("tensorboard"), needs("mlflow")])
def test_a_library_reads_back_the_history(
    run_command: Command, few: Path, tmp_path: Path, offline: list[object], name: str
) -> None:
    before = dict(os.environ)
    done = run_command(
        "mmsent", "train", "--model", "light", "--epochs", 2, "--data", few, "--output", "run",
        "--log-to", name, cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert dict(os.environ) == before
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert_same(READERS[name](tmp_path / "run"), history(tmp_path / "run"))
    # The library prints nothing.
    assert [line for line in done.err.splitlines() if "mlflow" in line or "alembic" in line] == []


@pytest.mark.parametrize("name", [needs("tensorboard"), needs("mlflow")])
@pytest.mark.parametrize(
    "event",
    [Event("evaluated", 2), pytest.param(Event("step", 3, 1), marks=pytest.mark.slow)],
    ids=str,
)
def test_a_resumed_training_continues_the_record(
    run_command: Command, few: Path, tmp_path: Path, name: str, event: Event
) -> None:
    """Also if an epoch was logged but is trained again."""
    run = tmp_path / "run"
    train_until(few, run, name, event)
    done = run_command("mmsent", "train", "--resume", "run", cwd=tmp_path)
    assert done.code == 0, done.err
    found = READERS[name](run)
    assert [step for step, _ in found["train_loss"]] == [1, 2, 3]
    found["seconds"] = history(run)["seconds"]  # of an epoch that was trained twice
    assert_same(found, history(run))


@pytest.mark.parametrize("name", [needs("mlflow")])
def test_mlflow_has_the_settings_and_the_final_status(
    run_command: Command, few: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    train_until(few, run, name, Event("step", 2, 1))
    _, found = mlflow_run(run)
    assert found.info.status == "FAILED"
    assert run_command("mmsent", "train", "--resume", "run", cwd=tmp_path).code == 0
    _, found = mlflow_run(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    assert found.data.params["model"] == "light"
    assert found.data.params["epochs"] == str(EPOCHS)


@pytest.mark.slow  # it starts a separate process
@pytest.mark.parametrize("name", [needs("wandb")])
def test_weights_and_biases_works_offline(
    run_command: Command, few: Path, tmp_path: Path, offline: list[object], name: str
) -> None:
    """Without an account or a prompt, and in one run when resumed."""
    run = tmp_path / "run"
    before = dict(os.environ)
    train_until(few, run, name, Event("step", 2, 1))
    done = run_command("mmsent", "train", "--resume", "run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "wandb" not in done.err
    assert dict(os.environ) == before
    records = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(records) == 2
    assert len({path.stem for path in records}) == 1
    metrics = b"".join(path.read_bytes() for path in records)
    assert all(metrics.count(score.encode()) >= EPOCHS for score in SCORES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_before_the_data_is_read(
    run_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("mmsent_training.tracking.find_spec", lambda module: None)
    done = run_command("mmsent", "train", "--data", ".", "--log-to", name, cwd=tmp_path)
    assert done.code == 2
    assert f"--log-to {name} requires {name}, which is not installed here" in done.err
    assert f"`pip install './training[{name}]'`" in done.err


def test_a_folder_with_its_name_is_not_the_library(tmp_path: Path) -> None:
    """Such as the folder wandb that Weights & Biases creates in the working folder."""
    (tmp_path / "wandb").mkdir()
    program = (
        "from mmsent_training.tracking import check_installed\n"
        "import sys; sys.path.insert(0, ''); sys.modules.pop('wandb', None)\n"
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        "check_installed(['wandb'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert "InputError: --log-to wandb requires wandb" in done.stderr.replace("mmsent.errors.", "")


@pytest.mark.parametrize("name", [needs("tensorboard")])
def test_a_library_that_fails_does_not_stop_the_training(
    run_command: Command, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", fail)
    done = run_command(
        "mmsent", "train", "--model", "light", "--epochs", 2, "--data", few, "--output", "run",
        "--log-to", name, cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.err.count("--log-to tensorboard failed, and the training goes on without it") == 1
    assert len(history(tmp_path / "run")["accuracy"]) == 2


def test_without_the_option_nothing_is_tracked(trained: Path) -> None:
    assert tracked(trained) == []

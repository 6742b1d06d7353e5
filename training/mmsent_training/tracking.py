"""Log training to TensorBoard, MLflow or Weights & Biases: `mmsent train --log-to`.

The records are files in the run's folder. Nothing is sent anywhere: Weights & Biases is in its
offline mode, and the telemetry of the libraries is off.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsent.distributions import install_command
from mmsent.errors import InputError, Interrupted

if TYPE_CHECKING:  # the command's help lists the libraries, and these import torch
    from mmsent_training.loop import Callback, Epoch, Event
    from mmsent_training.settings import Settings

Log = Callable[[int, Mapping[str, float]], None]
"""Logs the scores of an epoch, whose number comes first."""

PROJECT = "mmsent"
"""The experiment of MLflow, and the project of Weights & Biases."""

logger = logging.getLogger(__name__)


@contextmanager
def tracking(names: Sequence[str], settings: Settings) -> Iterator[Callback]:
    """A callback for `train` and `resume` that logs every epoch with the libraries ``names``.

    A library that fails is dropped with a warning: history.csv has the same figures.
    Raises InputError if a library is not installed.
    """
    from mmsent_training.distributed import rank

    check_installed(names)
    opened: dict[str, AbstractContextManager[Log]] = {}
    logs: dict[str, Log] = {}

    def callback(event: Event) -> None:
        if rank() > 0:
            return
        if event.kind == "started" and event.folder:
            for name in dict.fromkeys(names):
                with _surviving(name, logs):
                    record = _LIBRARIES[name].open(event.folder, settings, event.epoch)
                    logs[name] = record.__enter__()
                    opened[name] = record
        elif event.kind == "evaluated" and event.scores:
            for name, log in [*logs.items()]:
                with _surviving(name, logs):
                    log(event.epoch, _scores(event.scores))

    def close(error: BaseException | None) -> None:
        for name, record in opened.items():
            with _surviving(name, logs):
                if error is None:
                    record.__exit__(None, None, None)
                else:
                    record.__exit__(type(error), error, error.__traceback__)

    try:
        yield callback
    except BaseException as error:
        close(error)
        raise
    close(None)


def tracked(folder: Path) -> list[str]:
    """The libraries that log the run in ``folder``."""
    return [name for name, library in _LIBRARIES.items() if (folder / library.folder).is_dir()]


def check_installed(names: Sequence[str]) -> None:
    """Raise InputError if one of the libraries ``names`` is not installed."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # without an origin, a folder of that name
            raise InputError(
                f"--log-to {name} requires {name}, which is not installed here\n"
                f"Install it with {install_command('mmsent-training', name)}"
            )


@contextmanager
def _surviving(name: str, logs: dict[str, Log]) -> Iterator[None]:
    """Drop a library that fails, so that the training continues."""
    try:
        yield
    except Exception as error:  # of any library
        logs.pop(name, None)
        logger.warning(f"--log-to {name} failed, and the training goes on without it: {error}")


def _scores(epoch: Epoch) -> dict[str, float]:
    """The columns of history.csv, by name."""
    return {name: value for name, value in asdict(epoch).items() if name != "epoch"}


@contextmanager
def _calm(**values: str) -> Iterator[None]:
    """Set environment variables within the block, and hide libraries' warnings."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _tensorboard(folder: Path, settings: Settings, done: int) -> Iterator[Log]:
    writers: Any = import_module("torch.utils.tensorboard")
    # An epoch that was logged, but not saved, is logged again: TensorBoard drops the first.
    purge = done + 1 if done else None
    with writers.SummaryWriter(str(folder / "tensorboard"), purge_step=purge) as writer:

        def log(epoch: int, scores: Mapping[str, float]) -> None:
            for name, value in scores.items():
                writer.add_scalar(name, value, epoch)
            writer.flush()

        if not done:
            rows = "\n".join(f"| {key} | {value} |" for key, value in asdict(settings).items())
            writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}")
        yield log


@contextmanager
def _mlflow(folder: Path, settings: Settings, done: int) -> Iterator[Log]:
    # A folder, though MLflow prefers SQLite: creating its tables takes 16 s of CPU time, and a
    # database suits few versions of MLflow.
    allowed = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    with _calm(**allowed):
        mlflow: Any = import_module("mlflow")
        entities: Any = import_module("mlflow.entities")
        client = mlflow.MlflowClient((folder / "mlruns").absolute().as_uri())
        experiment = client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else client.create_experiment(PROJECT)
        runs = client.search_runs([number])
        run = (runs or [client.create_run(number, run_name=folder.name)])[0].info.run_id
        if not runs:
            params = [entities.Param(key, str(value)) for key, value in asdict(settings).items()]
            client.log_batch(run, params=params)
        client.update_run(run, status="RUNNING")
        logged = {item.step for item in client.get_metric_history(run, "seconds")} if runs else ()

    def log(epoch: int, scores: Mapping[str, float]) -> None:
        if epoch in logged:  # but not saved
            return
        now = int(1000 * time.time())
        metrics = [entities.Metric(name, value, now, epoch) for name, value in scores.items()]
        with _calm(**allowed):
            client.log_batch(run, metrics)

    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        with _calm(**allowed):
            client.set_terminated(run, status)


@contextmanager
def _wandb(folder: Path, settings: Settings, done: int) -> Iterator[Log]:
    ours = "wandb" not in sys.modules
    # Its process writes a log to the cache.
    cache = str((folder / "wandb" / "cache").absolute())
    with _calm(WANDB_ERROR_REPORTING="false", WANDB_CACHE_DIR=cache):
        wandb: Any = import_module("wandb")
        # A resumed run has a second folder with the same id: `wandb sync` joins them.
        before = sorted((folder / "wandb").glob("offline-run-*"))
        run = wandb.init(
            project=PROJECT,
            name=folder.name,
            id=before[-1].name.rpartition("-")[2] if before else None,
            config=asdict(settings),
            dir=str(folder.absolute()),
            mode="offline",
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True
            ),
        )

    def log(epoch: int, scores: Mapping[str, float]) -> None:
        run.log(dict(scores), step=epoch)

    code = 1
    try:
        yield log
        code = 0
    finally:
        run.finish(exit_code=code)
        if ours:
            wandb.teardown()  # ends its process


@dataclass(frozen=True)
class _Library:
    """``folder``: its record, in the run's folder.

    ``open`` opens the record of the run in a folder, with its settings, after a number of epochs.
    """

    folder: str
    open: Callable[[Path, Settings, int], AbstractContextManager[Log]]


_LIBRARIES = {
    "tensorboard": _Library("tensorboard", _tensorboard),
    "mlflow": _Library("mlruns", _mlflow),
    "wandb": _Library("wandb", _wandb),
}
LIBRARIES: Sequence[str] = tuple(_LIBRARIES)
"""The values of --log-to."""

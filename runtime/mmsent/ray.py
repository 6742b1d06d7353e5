"""Predict a Ray Dataset with a bundle, on a laptop or a cluster. Requires the extra mmsent[ray].

Ray does the scheduling, retries and spilling. This module defines what an actor does with a batch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from mmsent.bundle.info import Device
from mmsent.data.labels import label_columns
from mmsent.data.pair import PARTS, File, Pair, Source
from mmsent.data.parquet import bytes_of, images_of
from mmsent.distributions import install_command
from mmsent.errors import InputError, MmsentError, Problem
from mmsent.predict.batches import (
    BATCH_SIZE,
    Batch,
    Outcome,
    Prediction,
    load_pixels,
    predict_batch,
    predict_window,
)
from mmsent.predict.missing import load_text, missing_fault
from mmsent.predict.model import SentimentModel

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

TASK_ROWS = 32 * BATCH_SIZE
"""Rows in one call of an actor, which sorts them by length into batches."""
ACTOR_CPUS = 0.5
"""CPUs that an actor requests, although it uses a whole core. If the actors reserved every CPU, the
tasks that read their input would wait forever."""


def predict(
    dataset: Any,
    model: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] = ".",
    prefix: str = "predicted_",
    on_error: str = "fail",
    allow_missing: bool = False,
    concurrency: int | tuple[int, int] | None = None,
    device: Device = "cpu",
    **ray_options: Any,
) -> Any:
    """``dataset``, a Ray Dataset, with columns for the predictions.

    ``dataset`` has the columns text and image, as in `mmsent.data.parquet`. Image paths are
    relative to ``folder``. If the bundle allows it (see BundleInfo.optional), cells may be null and
    a column may be absent; with ``allow_missing``, image files may be missing, too.

    The new columns are ``prefix`` + "tag" (string) and, for each label, ``prefix`` + label
    (float32, its probability; "_" is appended to the labels "tag" and "error"). With
    ``on_error="skip"``, the new columns of a bad row are null, and ``prefix`` + "error" (string)
    gives the reason. With "fail", the first bad row raises InputError, which Ray wraps.

    Each actor opens ``model`` once, a path that every machine can read, and uses one core or, with
    ``device="cuda"``, one GPU. ``concurrency``: the number of actors, or the minimum and maximum
    (default: 1 to the number of CPUs or GPUs). Other options go to ``Dataset.map_batches``. Ray
    restarts actors that die and repeats their blocks.
    Raises MmsentError if Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError:
        raise MmsentError(
            "mmsent.ray needs Ray, which is not installed here\n"
            f"Run {install_command('mmsent', 'ray')}"
        ) from None
    if on_error not in ("fail", "skip"):
        raise InputError(f"on_error must be 'fail' or 'skip', not {on_error!r}")
    share = "GPU" if device == "cuda" else "CPU"
    if not ray.is_initialized():
        ray.init()
    if concurrency is None:
        concurrency = (1, max(1, int(ray.cluster_resources().get(share, 1))))
    smallest, largest = (concurrency,) * 2 if isinstance(concurrency, int) else concurrency
    resources = {"num_gpus": 1} if device == "cuda" else {"num_cpus": ACTOR_CPUS}
    options = {**resources, "batch_size": TASK_ROWS, **ray_options}
    return dataset.map_batches(
        _Predictor,
        fn_constructor_args=(
            os.fspath(model),
            os.fspath(folder),
            prefix,
            on_error,
            allow_missing,
            device,
        ),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=smallest, max_size=largest),
        **options,
    )


class _Predictor:
    """An actor with the open bundle."""

    def __init__(
        self,
        model: str,
        folder: str,
        prefix: str,
        on_error: str,
        allow_missing: bool,
        device: Device,
    ) -> None:
        self.model = SentimentModel(model, threads=1, device=device)
        self.folder, self.prefix, self.on_error = Path(folder), prefix, on_error
        self.allow_missing = allow_missing

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        probabilities = label_columns(self.model.labels, ("tag", "error")).values()
        names = [f"{self.prefix}{name}" for name in ("tag", *probabilities)]
        names += [f"{self.prefix}error"] * (self.on_error == "skip")
        lacking = [part for part in PARTS if part not in table.column_names]
        if fault := missing_fault(lacking, self.model.info):
            raise InputError(f"the dataset lacks the column {' and '.join(lacking)}: {fault}")
        if double := set(names) & set(table.column_names):
            raise InputError(f"the dataset already has a column {min(double)}; use another prefix")
        outcomes = self._predict(table)
        predictions = [o if isinstance(o, Prediction) else None for o in outcomes]
        columns = [pa.array([p and p.label for p in predictions], pa.string())]
        for label in self.model.labels:
            values = [p and p.probabilities[label] for p in predictions]
            columns.append(pa.array(values, pa.float32()))
        if self.on_error == "skip":
            errors = [o.message if isinstance(o, Problem) else None for o in outcomes]
            columns.append(pa.array(errors, pa.string()))
        for name, column in zip(names, columns):
            table = table.append_column(name, column)
        return table

    def _predict(self, table: pa.Table) -> list[Outcome | None]:
        """Each row's prediction, or its problem. Raises InputError for a problem, unless "skip"."""
        texts, images = _column(table, "text", bytes_of), _column(table, "image", images_of)
        pairs = [
            Pair("", None, "", index, text, self._source(image))
            for index, (text, image) in enumerate(zip(texts, images))
        ]
        broken = Event() if self.on_error == "fail" else None

        def predict(batch: Batch) -> Sequence[Outcome | None]:
            pixels = (load_pixels(pairs[index], self.model.info.image) for index in batch.indices)
            return predict_batch(self.model, batch, pixels, broken=broken)

        loaded = [load_text(pair, self.model.info) for pair in pairs]
        outcomes = list(predict_window(self.model, loaded, predict))
        problem = next((item for item in outcomes if isinstance(item, Problem)), None)
        if broken and problem:
            raise InputError(f"{_name(table, problem.line)}: {problem.message}")
        return outcomes

    def _source(self, image: bytes | str | None) -> Source | None:
        if not isinstance(image, str):
            return image
        file = File(image, self.folder, named=True)
        return None if self.allow_missing and not file.exists() else file


def _column(table: pa.Table, name: str, read: Callable[[pa.Array], list[T]]) -> Sequence[T | None]:
    """The cells of a column, or None for each row if there is no such column."""
    if name not in table.column_names:
        return [None] * len(table)
    return read(table.column(name).combine_chunks())


def _name(table: pa.Table, index: int) -> str:
    """A row's name in messages; a batch does not know its position in the dataset."""
    if "guid" not in table.column_names:
        return f"row {index + 1} of a batch"
    return f"guid {str(table.column('guid')[index])!r}"

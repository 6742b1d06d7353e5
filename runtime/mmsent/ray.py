"""A Ray Dataset through a bundle: on a laptop or a cluster. Needs the extra mmsent[ray].

Ray schedules, retries and spills; here is only what one actor does with one batch.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsent.data.dataset import Row, image_of, text_of
from mmsent.data.parquet import cells, pack_cells
from mmsent.errors import InputError, MmsentError
from mmsent.inputs.image import load_image
from mmsent.predict.model import BATCH_SIZE, Prediction, SentimentModel

if TYPE_CHECKING:
    import pyarrow as pa

TASK_ROWS = 32 * BATCH_SIZE
"""Rows that an actor takes at once; among them, batches are formed by length."""
ACTOR_CPUS = 0.5
"""What an actor asks Ray for, though it computes on a whole core: if actors claimed every CPU, the
tasks that read their input would wait for ever."""


def predict(
    dataset: Any,
    model: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] = ".",
    prefix: str = "predicted_",
    on_error: str = "fail",
    concurrency: int | tuple[int, int] | None = None,
    device: str = "cpu",
    **ray_options: Any,
) -> Any:
    """A Ray Dataset with ``dataset``'s columns and rows and, of each row, its prediction.

    ``dataset`` has the columns text and image, as `mmsent.data.parquet` describes them; paths of
    images are relative to ``folder``. The new columns are ``prefix`` + "tag" (string) and, for each
    label, ``prefix`` + label (float32, its probability). With ``on_error="skip"`` a bad row's are
    null, and ``prefix`` + "error" (string) tells why; with "fail" the first bad row raises
    InputError, which Ray wraps. Each actor opens ``model``, a path that every machine knows, once,
    and computes on one core or, with ``device="cuda"``, one GPU. ``concurrency`` is the number of
    actors, or the smallest and the largest (default: from 1 to as many as there are CPUs or GPUs).
    Further options go to ``Dataset.map_batches``. An actor that dies is started again, and its
    blocks are redone.
    Raises MmsentError where Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError:
        raise MmsentError(
            "mmsent.ray needs Ray, which is not installed here; "
            "install it with: pip install 'mmsent[ray]'"
        ) from None
    if on_error not in ("fail", "skip"):
        raise InputError(f"on_error is 'fail' or 'skip', not {on_error!r}")
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
        fn_constructor_args=(os.fspath(model), os.fspath(folder), prefix, on_error, device),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=smallest, max_size=largest),
        **options,
    )


class _Predictor:
    """What an actor holds: the open bundle."""

    def __init__(self, model: str, folder: str, prefix: str, on_error: str, device: str) -> None:
        self.model = SentimentModel(model, threads=1, device=device)
        self.folder, self.prefix, self.on_error = Path(folder), prefix, on_error

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        names = [f"{self.prefix}{name}" for name in ("tag", *self.model.labels)]
        names += [f"{self.prefix}error"] * (self.on_error == "skip")
        missing = {"text", "image"} - set(table.column_names)
        double = set(names) & set(table.column_names)
        if missing or double:
            raise InputError(
                f"the dataset lacks the column {' and '.join(sorted(missing))}"
                if missing
                else f"the dataset has a column {min(double)} already: give another prefix"
            )
        outcomes = self._predict(table)
        tags = [o.label if isinstance(o, Prediction) else None for o in outcomes]
        columns = [pa.array(tags, pa.string())]
        for label in self.model.labels:
            values = [
                o.probabilities[label] if isinstance(o, Prediction) else None for o in outcomes
            ]
            columns.append(pa.array(values, pa.float32()))
        if self.on_error == "skip":
            errors = [None if isinstance(o, Prediction) else o for o in outcomes]
            columns.append(pa.array(errors, pa.string()))
        for name, column in zip(names, columns):
            table = table.append_column(name, column)
        return table

    def _predict(self, table: pa.Table) -> list[Prediction | str]:
        """A row's prediction, or what is wrong with it."""
        text, image = (table.column(name).combine_chunks() for name in ("text", "image"))
        rows = [Row(i, "", None, packed) for i, packed in enumerate(pack_cells(text, image))]
        outcomes: dict[int, Prediction | str] = {}
        texts, pixels = {}, {}
        for row in rows:
            try:
                texts[row.line] = text_of(self.folder, row)[0]
                data = image_of(self.folder, row)
                pixels[row.line] = load_image(data, self.model.info.image)
            except InputError as error:
                if self.on_error == "fail":
                    raise InputError(f"{_name(table, row.line)}: {error}") from None
                outcomes[row.line] = str(error)
        order = list(pixels)
        ids = dict(zip(order, self.model.encode([texts[i] for i in order])))
        order.sort(key=lambda i: len(ids[i]))
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            _, probabilities = self.model.run(
                [ids[i] for i in batch], np.stack([pixels[i] for i in batch])
            )
            outcomes |= zip(batch, self.model.to_predictions(probabilities))
        return [outcomes[i] for i in range(len(rows))]


def _name(table: pa.Table, index: int) -> str:
    """How a message calls a row: a batch does not know which rows of the dataset it holds."""
    if "guid" not in table.column_names:
        return f"row {index + 1} of a batch"
    guid = cells(table.column("guid").slice(index, 1).combine_chunks().cast("string"))[0]
    return f"guid {(guid or b'').decode(errors='replace')!r}"

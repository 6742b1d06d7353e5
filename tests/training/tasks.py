"""A task for a recipe's functions, without examples."""

from pathlib import Path
from typing import Any

import numpy as np

from mmsent.data.labels import SENTIMENTS
from mmsent_training.examples import Examples
from mmsent_training.models.recipe import Task, Weights
from mmsent_training.settings import Settings
from mmsent_training.weights.checkpoint import Checkpoint


def make_task(
    model: str, weights: Weights | None, label_names: tuple[str, ...] = SENTIMENTS, **settings: Any
) -> Task:
    """A task with ``weights`` and labels, but no examples."""
    examples = Examples([], [], np.empty(0, np.int64), label_names, [], [])
    return Task(Settings(model=model, **settings), weights, examples, [], [])


def clip_task(folder: Path, **settings: Any) -> Task:
    """A task with the CLIP checkpoint in ``folder``."""
    return make_task("clip", Checkpoint(folder, str(folder), None, "0" * 64), **settings)

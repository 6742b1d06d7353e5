"""The model clip with a checkpoint's weights, as at the start of a training."""

from pathlib import Path

from torch import nn

from mmsent.data.labels import SENTIMENTS
from mmsent_training.examples import read_examples
from mmsent_training.models import clip
from mmsent_training.models.recipe import Inputs, Task
from mmsent_training.settings import Settings


def open_clip(checkpoint: Path) -> tuple[nn.Module, Inputs]:
    """The model, and its tokenizer and image settings."""
    weights = clip.find_weights({"clip": str(checkpoint)})
    task = Task(Settings(model="clip"), weights, read_examples([], SENTIMENTS), [], [])
    inputs = clip.read_inputs(task)
    _, model = clip.create(task, inputs, [])
    return model.eval(), inputs

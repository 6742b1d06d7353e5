"""Models that are trained on pixels: both parts decoded, and what stands for a missing input."""

import torch
from torch import Tensor

from mmsent.files.progress import Progress
from mmsent.inputs.image import MISSING
from mmsent.inputs.text import tokenize
from mmsent_training.batches import PixelBatches
from mmsent_training.examples import decode_images
from mmsent_training.models.recipe import Ids, Inputs, Task


def pixel_batches(task: Task, inputs: Inputs, ids: Ids) -> tuple[PixelBatches, PixelBatches]:
    """The training and the validation pairs, decoded.

    Raises InputError that names every image which can't be decoded.
    """
    pairs, total = task.examples.pairs, len(task.examples.pairs)
    with Progress("decoding", total, "images") as progress:
        training, validation = (
            PixelBatches(
                [ids[index] for index in part],
                decode_images([pairs[index] for index in part], inputs.image, progress=progress),
            )
            for part in (task.train, task.validation)
        )
    return training, validation


def missing_pair(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """What stands for a missing text, ids [tokens], and a missing image, uint8 [size, size, 3]."""
    text = torch.tensor(tokenize(inputs.tokenizer, [""])[0])
    size = inputs.image.size
    return text, torch.full((size, size, 3), MISSING, dtype=torch.uint8)

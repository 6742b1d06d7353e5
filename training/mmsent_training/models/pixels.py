"""For models that train on pixels: decoded pairs, and stand-ins for missing inputs."""

import torch
from torch import Tensor

from mmsent.files.progress import Progress
from mmsent.inputs.image import missing_image
from mmsent.inputs.text import tokenize
from mmsent_training.batches import PixelBatches
from mmsent_training.examples import decode_images
from mmsent_training.models.recipe import Ids, Inputs, Task


def pixel_batches(task: Task, inputs: Inputs, ids: Ids) -> tuple[PixelBatches, PixelBatches]:
    """The training and validation pairs, decoded, with a grey image for missing images.

    Raises InputError that names every image which can't be decoded.
    """
    pairs = task.examples.pairs
    images = sum(not pair.lacks("image") for pair in pairs)
    with Progress("decoding", images, "images", summary=images > 0) as progress:
        training, validation = (
            PixelBatches(
                [ids[index] for index in part],
                decode_images([pairs[index] for index in part], inputs.image, progress=progress),
            )
            for part in (task.train, task.validation)
        )
    return training, validation


def missing_pair(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The stand-ins for a missing text, ids [tokens], and image, uint8 [size, size, 3]."""
    text = torch.tensor(tokenize(inputs.tokenizer, [""])[0])
    return text, torch.from_numpy(missing_image(inputs.image))

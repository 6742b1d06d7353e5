"""Batches: the rows of each step, and the inputs of the module."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmsent.inputs.text import pad_ids
from mmsent_training.settings import Settings

WINDOW = 8
"""Steps whose pairs are sorted by length together."""


class Batches(Protocol):
    """Encoded pairs that can be batched by row."""

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The module's inputs for ``rows``, int64 [batch]; the image is last."""


@dataclass(frozen=True)
class PixelBatches:
    """Pairs as token ids and pixels, uint8 [pairs, height, width, 3]."""

    ids: Sequence[Sequence[int]]
    pixels: npt.NDArray[np.uint8]

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Ids and mask, int64 [batch, tokens], and pixels."""
        input_ids, attention_mask = pad_ids([self.ids[row] for row in rows.tolist()])
        arrays = (input_ids, attention_mask, self.pixels[rows.numpy()])
        return tuple(torch.from_numpy(array) for array in arrays)


@dataclass(frozen=True)
class FeatureBatches:
    """Embeddings of pairs by a frozen encoder: float32 [pairs, features]."""

    features: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Features, float32 [batch, features]."""
        return (self.features[rows],)


@dataclass(frozen=True)
class StateBatches:
    """States of texts, [tokens, width] each, and embeddings of images, [pairs, ...]."""

    states: Sequence[Tensor]
    images: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """States, float32 [batch, tokens, width], their mask, int64 [batch, tokens], and images."""
        chosen = [self.states[row] for row in rows.tolist()]
        lengths = torch.tensor([len(item) for item in chosen])
        states = pad_sequence(chosen, batch_first=True).float()
        mask = (torch.arange(states.shape[1]) < lengths.unsqueeze(1)).long()
        return states, mask, self.images[rows]


def divide_epoch(lengths: Tensor, settings: Settings, epoch: int) -> list[list[Tensor]]:
    """The steps of an epoch in random order; each is a list of batches of rows, int64.

    ``lengths``: of each pair's text, in tokens, int64 [pairs]. A step has
    ``gradient_accumulation_steps`` batches; the last step and batch may be smaller. With
    ``group_by_length``, texts of similar length share a batch, which saves padding: the pairs of a
    few steps are sorted, and their batches shuffled.
    """
    generator = torch.Generator().manual_seed(batch_seed(settings.seed, epoch, 0))
    order = torch.randperm(len(lengths), generator=generator)
    steps = settings.gradient_accumulation_steps
    batches = [*torch.split(order, settings.batch_size)]
    if settings.group_by_length:
        batches = []
        for window in torch.split(order, WINDOW * steps * settings.batch_size):
            window = window[lengths[window].argsort(stable=True)]
            parts = torch.split(window, settings.batch_size)
            batches += [parts[i] for i in torch.randperm(len(parts), generator=generator)]
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


def batch_seed(*numbers: int) -> int:
    """The seed of a batch, from the training's seed and the batch's numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def augment_each(augment: nn.Module, pixels: Tensor) -> Tensor:
    """Apply a random torchvision transform to each image of a batch, uint8 NHWC."""
    images = pixels.permute(0, 3, 1, 2).contiguous()
    return torch.stack([augment(image) for image in images]).permute(0, 2, 3, 1)


def drop_modalities(
    tokens: Tensor, mask: Tensor, image: Tensor, missing: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Remove the text of a ``share`` of the pairs, and the image of another share, never both.

    ``missing``: what replaces a text, [tokens, ...], and an image, in the shape of one pair.
    """
    draw = torch.rand(len(tokens), device=tokens.device)
    text, picture = missing
    blank, blank_mask = torch.zeros_like(tokens[:1]), torch.zeros_like(mask[:1])
    blank[:, : len(text)], blank_mask[:, : len(text)] = text.to(tokens.dtype), 1

    def where(rows: Tensor, value: Tensor, other: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (other.dim() - 1)), value, other)

    no_text, no_image = draw < share, draw > 1 - share
    return (
        where(no_text, blank, tokens),
        where(no_text, blank_mask, mask),
        where(no_image, picture, image),
    )

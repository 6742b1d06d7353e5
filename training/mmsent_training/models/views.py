"""The views of an image that a head is trained on: the image and its mirror image."""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from mmsent_training.models.embeddings import cached_embeddings
from mmsent_training.models.onnx_encoder import OnnxEncoder
from mmsent_training.models.recipe import Ids, Inputs, Task


def embed_views(embed: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """What ``embed`` makes of each image and of its mirror image, side by side: [batch, values].

    ``pixels``: uint8 [batch, height, width, 3], as ``embed`` takes them.
    """
    # In small batches, the activations fit into the processor's cache.
    size = 4 if pixels.device.type == "cpu" else len(pixels)
    views = [
        torch.cat([embed(part) for part in torch.split(view, size)])
        for view in (pixels, pixels.flip(2))
    ]
    return torch.stack(views, 1).flatten(1)


def cached_views(
    model: nn.Module, task: Task, inputs: Inputs, ids: Ids, key: Mapping[str, Any]
) -> Tensor:
    """``model.embed`` of every pair, [pairs, values], with its image encoder made faster.

    They are cached: see cached_embeddings, also for ``key``.
    """
    encoder = model.image
    device = next(model.parameters()).device.type
    model.image = fold_batch_norms(encoder)
    if device == "cpu" and any(isinstance(part, nn.BatchNorm2d) for part in encoder.modules()):
        model.image = OnnxEncoder(model.image)
        key = {**key, "onnxruntime": onnxruntime.__version__}
    try:
        features = cached_embeddings(
            model, task.examples, ids, range(len(ids)), inputs.image, key=key, precision="fp32"
        )
    finally:
        model.image = encoder
    return torch.from_numpy(features)


def fold_batch_norms(encoder: nn.Module) -> nn.Module:
    """A copy of a timm EfficientNet, or of a part of it, for prediction: twice as fast.

    Each batch norm is merged into the convolution before it; features differ only by rounding.
    """
    encoder = copy.deepcopy(encoder).eval()
    for part in [*encoder.modules()]:
        for (name, conv), (after, norm) in pairwise([*part.named_children()]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, nn.utils.fuse_conv_bn_eval(conv, norm))
                setattr(part, after, norm.act)  # a norm of timm's holds the activation, too
    return encoder


def pick_views(maps: Tensor) -> Tensor:
    """One view of each image, at random: [batch, views, ...] becomes [batch, ...]."""
    rows = torch.arange(len(maps), device=maps.device)
    return maps[rows, torch.randint(maps.shape[1], (len(maps),), device=maps.device)]


def mix_views(features: Tensor) -> Tensor:
    """A random mixture of each image's views: [batch, views, width] becomes [batch, width]."""
    shares = torch.rand(features.shape[:2], device=features.device).clamp_min(1e-9).log()
    return (features * (shares / shares.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)

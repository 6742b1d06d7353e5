"""EfficientNet-Lite0, the compact model's image encoder."""

import copy
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

NAME = "tf_efficientnet_lite0"
WIDTH = 1280
"""Of its features."""


def create_encoder(values: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The whole encoder, from pixels to features: float [batch, 1280].

    ``values``: the released weights. They are of the same architecture under other names, in the
    same order; the last two are ImageNet's classifier.
    """
    import timm

    encoder: nn.Module = timm.create_model(NAME, pretrained=False, num_classes=0)
    if values is not None:
        encoder.load_state_dict(dict(zip(encoder.state_dict(), values.values())))
    return encoder


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

"""EfficientNet-Lite0, the compact model's image encoder: a frozen part, and one that is trained."""

import copy
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

NAME = "tf_efficientnet_lite0"
WIDTH = 1280
"""Of its features."""
MAPS = (192, 7, 7)
"""The shape of what its last block sees of an image of 224 pixels."""


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


def split(encoder: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The encoder below its last block, and the rest: that block, a convolution and the pooling.

    Together they compute what ``encoder`` did. The first returns maps, float [batch, *MAPS]. The
    batch norms of the second are merged into its convolutions, so training has no statistics to
    change, and a prediction does not depend on its batch.
    """
    lower = copy.deepcopy(encoder)
    upper = nn.Sequential(lower.blocks[-1], lower.conv_head, lower.bn2, lower.global_pool)
    lower.blocks = lower.blocks[:-1]
    lower.conv_head, lower.bn2, lower.global_pool = nn.Identity(), nn.Identity(), nn.Identity()
    return lower, fold_batch_norms(upper)


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

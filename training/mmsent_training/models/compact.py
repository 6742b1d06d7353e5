"""The compact model: MiniLM-L6 and EfficientNet-Lite0, whose weights are ordinary pip packages.

Half of the text encoder and all of the image encoder stay as they came. What they make of a pair is
computed once; the upper half of the text encoder is trained with the head.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import pad_ids
from mmsent_training.data import Pairs
from mmsent_training.distributed import gather, name_part, processes, rank
from mmsent_training.models.embeddings import BATCH_SIZE, encode_pairs
from mmsent_training.weights.packages import CompactCheckpoint

IMAGE = ImageSettings(size=224, resize="stretch", filter="bicubic")
IMAGE_ENCODER = "tf_efficientnet_lite0"
IMAGE_WIDTH = 1280
MINILM: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",  # what the exporter of torch 2.4 can export
}
"""Its BertConfig, as the package's config.json has it."""
FROZEN_LAYERS = 3
"""Of the text encoder's six."""


class CompactHead(nn.Module):
    """What is trained: the text encoder's upper layers, and a linear layer over both encoders.

    ``modality``: "both", or "text" or "image" to see only that one.
    """

    def __init__(self, config: BertConfig, labels: int, modality: str) -> None:
        super().__init__()
        self.modality = modality
        width = 0
        if modality != "image":
            bert = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
            layers = bert.encoder.layer[FROZEN_LAYERS:]
            self.layers = nn.ModuleList(layers)
            self.text_width = 2 * config.hidden_size
            self.text_norm = nn.LayerNorm(self.text_width, elementwise_affine=False)
            self.text_dropout = nn.Dropout(0.3)
            width += self.text_width
        if modality != "text":
            # Of the training part's features: see set_statistics.
            self.register_buffer("mean", torch.zeros(IMAGE_WIDTH))
            self.register_buffer("std", torch.ones(IMAGE_WIDTH))
            self.image_projection = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(IMAGE_WIDTH, 256), nn.GELU(), nn.Dropout(0.3)
            )
            width += 256
        self.classifier = nn.Linear(width, labels)

    def set_statistics(self, image: Tensor) -> None:
        """Standardise image features by those of ``image``, float [..., 1280], from now on."""
        if self.modality != "text":
            rows = image.flatten(0, -2)
            self.mean.copy_(rows.mean(0))
            self.std.copy_(rows.std(0) + 1e-2)  # some features are next to never active

    def text_features(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Means of the text's ``states`` and of what the layers make of them: [batch, 2 x width].

        ``states`` and ``attention_mask`` are as `forward` takes them.
        """
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        # What is added to the attention's scores: nothing to tokens, all but -inf to padding.
        bias = (1 - mask).transpose(1, 2).unsqueeze(1) * torch.finfo(torch.float32).min
        lower = states
        for layer in self.layers:
            output = layer(states, attention_mask=bias)
            states = output[0] if isinstance(output, tuple) else output
        means = [(item * mask).sum(1) / mask.sum(1) for item in (lower, states)]
        features: Tensor = self.text_dropout(self.text_norm(torch.cat(means, 1)))
        return features

    def forward(self, states: Tensor, attention_mask: Tensor, image: Tensor) -> Tensor:
        """Logits, float [batch, labels].

        ``states``: the frozen layers' of the text, float [batch, tokens, width]. ``image``: float
        [batch, 1280] or, in training, [batch, views, 1280]: of those, a random mixture is taken.
        """
        features = []
        if self.modality != "image":
            features.append(self.text_features(states, attention_mask))
        if self.modality != "text":
            if image.dim() == 3:
                shares = torch.rand(image.shape[:2], device=image.device).clamp_min(1e-9).log()
                image = (image * (shares / shares.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)
            features.append(self.image_projection((image - self.mean) / self.std))
        return self.classifier(torch.cat(features, 1))


class CompactModel(nn.Module):
    """Frozen encoders under a CompactHead.

    ``modality``: "both", or "text" or "image" to see only that one (the inputs stay the same).
    """

    def __init__(self, labels: int = 3, modality: str = "both") -> None:
        super().__init__()
        self.modality = modality
        bert = BertConfig(**MINILM)  # type: ignore[no-untyped-call]
        if modality != "image":
            self.text = BertModel(bert, add_pooling_layer=False)  # type: ignore[no-untyped-call]
            self.text.encoder.layer = self.text.encoder.layer[:FROZEN_LAYERS]
        if modality != "text":
            import timm

            self.image = timm.create_model(IMAGE_ENCODER, pretrained=False, num_classes=0)
        self.head = CompactHead(bert, labels, modality)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("head."))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States of the frozen layers: float [batch, tokens, width]."""
        states: Tensor = self.text(input_ids=input_ids, attention_mask=attention_mask)[0]
        return states

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pooled features of uint8 [batch, height, width, 3]: float [batch, 1280]."""
        features: Tensor = self.image((pixels.permute(0, 3, 1, 2).float() - 127) / 128)
        return features

    def encode(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """Features of each image and of its mirror image, side by side: float [batch, 2 x 1280]."""
        # Of few images, what the layers hand on stays in a processor's cache.
        size = 4 if pixels.device.type == "cpu" else len(pixels)
        views = [
            torch.cat([self.encode_image(part) for part in torch.split(view, size)])
            for view in (pixels, pixels.flip(2))
        ]
        return torch.cat(views, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """Logits, float [batch, labels]."""
        text, image = self.modality != "image", self.modality != "text"
        states = self.encode_text(input_ids, attention_mask) if text else input_ids
        return self.head(states, attention_mask, self.encode_image(pixels) if image else pixels)


def load_pretrained(model: nn.Module, checkpoint: CompactCheckpoint) -> None:
    """Put the packages' weights, which find_compact has verified, into a CompactModel."""
    if model.modality != "image":
        weights = safetensors.torch.load_file(checkpoint.text / "model.safetensors")
        upper = re.compile(r"encoder\.layer\.(\d+)\.(.*)")
        lower, layers = {}, {}
        for name, tensor in weights.items():
            match = upper.fullmatch(name)
            if match and int(match[1]) >= FROZEN_LAYERS:
                layers[f"{int(match[1]) - FROZEN_LAYERS}.{match[2]}"] = tensor
            elif not name.startswith("pooler.") and name != "embeddings.position_ids":
                lower[name] = tensor
        model.text.load_state_dict(lower)
        model.head.layers.load_state_dict(layers)
    if model.modality != "text":
        # The same architecture under other names, in the same order; the last two are ImageNet's
        # classifier. weights_only: nothing but tensors is unpickled, and the file is known anyway.
        values = torch.load(checkpoint.image, map_location="cpu", weights_only=True).values()
        names = model.image.state_dict().keys()
        model.image.load_state_dict(dict(zip(names, values)))


def read_tokenizer(checkpoint: CompactCheckpoint, *, max_length: int) -> Tokenizer:
    """MiniLM's tokenizer, cutting texts to ``max_length`` tokens; it adds [CLS] and [SEP]."""
    tokenizer = Tokenizer.from_file(str(checkpoint.text / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def encode(
    model: nn.Module,
    pairs: Pairs,
    ids: Sequence[Sequence[int]],
    *,
    weights: str,
) -> tuple[list[Tensor], Tensor]:
    """What the frozen encoders make of every pair, in the order of ``pairs``.

    The states of each text, float16 [tokens, width], and the features of the images and of their
    mirror images, float32 [pairs, 2, 1280], which are cached: see encode_pairs. What the model does
    not see is zero. ``weights``: their SHA-256.
    """
    indices = range(len(ids))
    if model.modality == "text":
        views = torch.zeros(len(ids), 2, 1)
    else:
        # An image is known by its pair; its features do not depend on the text.
        key = {"weights": weights, "views": "image and mirror image", "batch norms": "folded"}
        encoder = model.image
        model.image = fold_batch_norms(encoder)
        try:
            features = encode_pairs(model, pairs, ids, indices, IMAGE, key=key, precision="fp32")
        finally:
            model.image = encoder
        views = torch.from_numpy(features).view(-1, 2, IMAGE_WIDTH)
    if model.modality == "image":
        states = [torch.zeros(len(item), 1) for item in ids]
    else:
        by_index: dict[int, Tensor] = {}
        for part in gather(_encode_texts(model, ids)):
            by_index |= part
        states = [by_index[index] for index in range(len(ids))]
    return states, views


def fold_batch_norms(encoder: nn.Module) -> nn.Module:
    """A copy of an EfficientNet of timm's for prediction, in half the time.

    Each batch norm has become a part of the convolution before it; features differ by rounding.
    """
    encoder = copy.deepcopy(encoder).eval()
    for part in [*encoder.modules()]:
        for (name, conv), (after, norm) in pairwise([*part.named_children()]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, nn.utils.fuse_conv_bn_eval(conv, norm))
                setattr(part, after, norm.act)  # a norm of timm's holds the activation, too
    return encoder


@torch.no_grad()
def encode_missing(model: nn.Module, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """What the frozen encoders make of what stands for a missing text and a missing image.

    ``text``: its ids, int64 [tokens]; ``image``: uint8 [height, width, 3]. As `encode` has them:
    [tokens, width] and [2, 1280]; a model of one modality misses nothing, and gives both back.
    """
    if model.modality != "both":
        return text, image
    device = next(model.parameters()).device
    text, image = text.to(device)[None], image.to(device)[None]
    states, features = model.encode_text(text, torch.ones_like(text)), model.encode_image(image)
    return states[0], features.expand(2, -1)


@torch.inference_mode()
def _encode_texts(model: nn.Module, ids: Sequence[Sequence[int]]) -> dict[int, Tensor]:
    """The states of this process's part of the texts, by their index."""
    model.eval()
    device = next(model.parameters()).device
    by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    states: dict[int, Tensor] = {}
    starts = range(0, len(ids), BATCH_SIZE)[rank() :: processes()]
    with Progress(name_part("encoding"), len(ids) // processes(), "texts") as progress:
        for start in starts:
            batch = by_length[start : start + BATCH_SIZE]
            inputs = pad_ids([ids[index] for index in batch])
            encoded = model.encode_text(*(torch.from_numpy(array).to(device) for array in inputs))
            for index, row in zip(batch, encoded.half().cpu()):
                states[index] = row[: len(ids[index])].clone()
            progress.update(len(batch))
    return states

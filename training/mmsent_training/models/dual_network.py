"""The network of the dual model: two encoders, each partly frozen, and a head."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmsent.errors import InputError
from mmsent_training.models import text_encoders
from mmsent_training.models.bag_of_tokens import BagOfTokens, pool
from mmsent_training.models.image_encoders import (
    UpperBlocks,
    feature_width,
    is_transformer,
    make_image_encoder,
    outline,
    split_image_encoder,
)
from mmsent_training.models.recipe import Fused
from mmsent_training.models.text_encoders import (
    encode_text,
    make_config,
    make_text_encoder,
    split_text_encoder,
)
from mmsent_training.models.views import embed_views, mix_views, pick_views

IMAGE_FEATURES = 256
"""What the head makes of an image's features."""


class DualHead(nn.Module):
    """The trained part: both encoders' upper layers, and a linear layer over both.

    A bag of tokens, if any, is fitted apart, and adds its logits in prediction only. The arguments
    are DualModel's.
    """

    def __init__(
        self,
        text: dict[str, Any],
        image: dict[str, Any],
        *,
        text_layers: int | None,
        image_blocks: int | None,
        first_token: bool,
        bag_of_tokens: bool,
        labels: int,
        modality: str,
    ) -> None:
        super().__init__()
        self.modality, self.first_token = modality, first_token
        self.text_layers, self.image_blocks = text_layers, image_blocks
        self.text: PreTrainedModel | None = None
        self.image: UpperBlocks | None = None
        self.bag: BagOfTokens | None = None
        width = 0
        if modality != "image":
            if bag_of_tokens:
                self.bag = BagOfTokens(make_config(text).vocab_size, labels)
            if text_layers != 0:
                self.text = split_text_encoder(make_text_encoder(text), text_layers)[1]
            parts = (text_layers is not None) + (text_layers != 0)
            self.text_width = parts * make_config(text).hidden_size
            self.text_norm = nn.LayerNorm(self.text_width, elementwise_affine=False)
            self.text_dropout = nn.Dropout(0.3)
            width += self.text_width
        if modality != "text":
            whole = outline(image)
            features = feature_width(whole)
            if image_blocks != 0:
                self.image = split_image_encoder(make_image_encoder(image), image_blocks)[1]
                self.image_norm = nn.LayerNorm(features, elementwise_affine=False)
            else:
                self.register_buffer("mean", torch.zeros(features))
                self.register_buffer("std", torch.ones(features))
            tokens = image_blocks is not None and is_transformer(whole)
            self.dimensions = 2 if image_blocks == 0 else 3 if tokens else 4
            self.image_projection = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(features, IMAGE_FEATURES), nn.GELU(), nn.Dropout(0.3)
            )
            width += IMAGE_FEATURES
        self.fused = Fused()
        self.classifier = nn.Linear(width, labels)

    @property
    def standardizes(self) -> bool:
        """Whether image features are frozen, and standardised by their statistics."""
        return self.modality != "text" and self.image is None

    @property
    def takes_inputs(self) -> bool:
        """Whether a used encoder is trained whole."""
        return (self.modality != "image" and self.text_layers is None) or (
            self.modality != "text" and self.image_blocks is None
        )

    def depths(self) -> dict[str, int]:
        """The number of layers above each pretrained part, by the beginnings of names."""
        found: dict[str, int] = {}
        if self.text is not None:
            depths = text_encoders.depths(self.text)
            found |= {f"text.{name}": depth for name, depth in depths.items()}
        if self.image is not None:
            found |= {f"image.{name}": depth for name, depth in self.image.depths.items()}
        return found

    def train(self, mode: bool = True) -> "DualHead":
        """Switch dropout on or off; batch norms keep their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def set_statistics(self, image: Tensor) -> None:
        """Standardise image features by the statistics of ``image``, float [..., width]."""
        rows = image.flatten(0, -2)
        self.mean.copy_(rows.mean(0))
        self.std.copy_(rows.std(0) + 1e-2)  # some features are almost never active

    def text_features(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Pooled states of the lower layers, and what the upper ones make of them: [batch, width].

        ``states`` and ``attention_mask`` are as `forward` takes them.
        """
        found = [] if self.text_layers is None else [states]
        if self.text is not None and self.text_layers is None:
            found.append(encode_text(self.text, states, attention_mask))
        elif self.text is not None:
            found.append(self.text(inputs_embeds=states, attention_mask=attention_mask)[0])
        if self.first_token:
            pooled = [item[:, 0] for item in found]
        else:
            mask = attention_mask.unsqueeze(-1).to(found[0].dtype)
            pooled = [(item * mask).sum(1) / mask.sum(1) for item in found]
        return self.text_dropout(self.text_norm(torch.cat(pooled, 1)))

    def image_features(self, image: Tensor) -> Tensor:
        """Features of images, float [batch, 256]. ``image`` is as `forward` takes it."""
        if image.dim() > self.dimensions:
            image = mix_views(image) if self.image is None else pick_views(image)
        if self.image is None:
            return self.image_projection((image - self.mean) / self.std)
        return self.image_projection(self.image_norm(self.image(image)))

    def forward(self, states: Tensor, attention_mask: Tensor, image: Tensor) -> Tensor:
        """Logits, float [batch, labels].

        ``states``: of the text, as `DualModel.text_states` returns them. ``image``: what the frozen
        part returns, or the scaled image, float [batch, ...]. In training it may be [batch, views,
        ...]: of those, one is drawn at random or, of frozen features, a mixture.
        """
        scores, features = None, []
        if self.bag is not None and self.text_layers is None:
            scores = self.bag(states)
        elif self.bag is not None:
            labels = self.classifier.out_features
            states, scores = states[..., :-labels], states[..., -labels:]
        if self.modality != "image":
            features.append(self.text_features(states, attention_mask))
        if self.modality != "text":
            features.append(self.image_features(image))
        logits: Tensor = self.classifier(self.fused(torch.cat(features, 1)))
        if scores is None or self.training:
            return logits
        return logits + pool(scores, attention_mask)


class DualModel(nn.Module):
    """Two encoders below a DualHead, with random weights: see `load_encoders`.

    ``text`` and ``image``: their configurations, as `read_config` returns them. ``mean`` and
    ``std``: the image encoder's, on the scale 0 to 1. ``text_layers`` and ``image_blocks``: how
    many of the upper ones are trained; None: all, with what comes before them. ``first_token``:
    pool texts at their first token; by default, take the mean. ``bag_of_tokens``: add a linear
    model of the tokens, empty until it is fitted. ``modality``: "both", or "text" or
    "image" to see only that one (the inputs stay the same).
    """

    def __init__(
        self,
        text: dict[str, Any],
        image: dict[str, Any],
        *,
        mean: list[float],
        std: list[float],
        text_layers: int | None,
        image_blocks: int | None,
        first_token: bool,
        bag_of_tokens: bool = False,
        labels: int = 3,
        modality: str = "both",
    ) -> None:
        super().__init__()
        self.modality = modality
        self.text: PreTrainedModel | None = None
        self.image: nn.Module | None = None
        if modality != "image" and text_layers is not None:
            self.text = split_text_encoder(make_text_encoder(text), text_layers)[0]
        self.head = DualHead(
            text,
            image,
            text_layers=text_layers,
            image_blocks=image_blocks,
            first_token=first_token,
            bag_of_tokens=bag_of_tokens,
            labels=labels,
            modality=modality,
        )
        if modality != "text" and image_blocks is not None:
            self.image = split_image_encoder(make_image_encoder(image), image_blocks)[0]
        # On the pixels' scale.
        for name, values in (("mean", mean), ("std", std)):
            scaled = torch.tensor([255 * value for value in values])
            self.register_buffer(name, scaled.view(1, -1, 1, 1), persistent=False)
        for part in (self.text, self.image):
            if part is not None:
                part.requires_grad_(False)

    def load_encoders(self, text: PreTrainedModel, image: nn.Module) -> None:
        """Take over the weights of two whole encoders, which must not be used afterwards."""
        parts = (
            *split_text_encoder(text, self.head.text_layers),
            *split_image_encoder(image, self.head.image_blocks),
        )
        for own, part in zip((self.text, self.head.text, self.image, self.head.image), parts):
            if own is not None and part is not None:
                own.load_state_dict(part.state_dict())

    def train(self, mode: bool = True) -> "DualModel":
        """Switch the head's dropout on or off; the frozen parts have none."""
        super().train(mode)
        for part in (self.text, self.image):
            if part is not None:
                part.eval()
        return self

    def checkpoint_gradients(self) -> None:
        """Compute activations again in the backward pass, to save memory.

        Raises InputError if the text encoder does not support it.
        """
        if self.head.image is not None:
            self.head.image.checkpointing = True
        if self.head.text is not None:
            try:
                enable: Any = self.head.text.gradient_checkpointing_enable
                enable({"use_reentrant": False})
            except ValueError:
                kind = self.head.text.config.model_type
                raise InputError(
                    f"--gradient-checkpointing: transformers does not support it for {kind}"
                ) from None

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States of the frozen layers, float [batch, tokens, width], or the ids."""
        if self.text is None:
            return input_ids
        return encode_text(self.text, input_ids, attention_mask)

    def text_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the head reads of texts: `embed_text` and, behind the states, the bag's scores."""
        states = self.embed_text(input_ids, attention_mask)
        if self.text is None or self.head.bag is None:
            return states
        return torch.cat([states, self.head.bag(input_ids)], 2)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """What the frozen part makes of uint8 [batch, height, width, 3]: float [batch, ...]."""
        scaled = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return scaled if self.image is None else self.image(scaled)

    def embed(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """What the frozen part makes of each image and its mirror image: float [batch, values]."""
        return embed_views(self.embed_image, pixels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        text, image = self.modality != "image", self.modality != "text"
        states = self.text_states(input_ids, attention_mask) if text else input_ids
        return self.head(states, attention_mask, self.embed_image(pixels) if image else pixels)

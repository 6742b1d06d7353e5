"""MiniLM-L6 and EfficientNet-Lite0, whose weights are pip packages, below a small head.

The lower half of the text encoder and the image encoder are frozen; their outputs are computed
once per pair. The upper half of the text encoder is trained with the head.
"""

import logging
import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from mmsent.data.labels import are_sentiments
from mmsent.errors import InputError
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import pad_ids
from mmsent_training.batches import StateBatches
from mmsent_training.devices import embedding_precision, training_precision
from mmsent_training.distributed import all_gather, name_part, rank, world_size
from mmsent_training.models import lite0
from mmsent_training.models.embeddings import BATCH_SIZE, module_sha256
from mmsent_training.models.pixels import missing_pair
from mmsent_training.models.pretraining import pretrain
from mmsent_training.models.recipe import Fused, Ids, Inputs, Prepared, Task
from mmsent_training.models.views import cached_views, embed_views, mix_views
from mmsent_training.settings import Device, Preset, Settings
from mmsent_training.weights.packages import CompactCheckpoint, find_compact

MINILM: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",  # the exporter of torch 2.4 supports only this one
}
"""MiniLM's BertConfig, from the package's config.json."""
FROZEN_LAYERS = 3
"""Of the text encoder's six."""

logger = logging.getLogger(__name__)


def find_weights(sources: Mapping[str, str]) -> CompactCheckpoint:
    """The weights of both encoders, from the installed packages."""
    return find_compact()


def default_settings(device: Device, preset: Preset) -> Settings:
    """Found by cross-validation: docs/experiments.md."""
    if preset == "reference":
        raise InputError("--preset reference: the task's report has no compact model")
    gpu = device == "cuda"
    return Settings(
        model="compact",
        preset=preset,
        device=device,
        precision=training_precision(device) if gpu else embedding_precision(device),
        epochs=3,
        batch_size=16,
        gradient_accumulation_steps=2,
        group_by_length=True,
        learning_rate=1e-3,
        encoder_learning_rate=4e-5,
        weight_decay=1e-2,
        augment=False,
        keep="last",
        ema_decay=0.99,
        class_weights=False,
        logit_adjustment=0.25,
        modality_dropout=0.05,
    )


def read_inputs(task: Task) -> Inputs:
    """MiniLM's tokenizer, which adds [CLS] and [SEP], and EfficientNet's images."""
    tokenizer = Tokenizer.from_file(str(_weights(task).text / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(task.settings.max_length)
    return Inputs(tokenizer, ImageSettings(size=224, resize="stretch", filter="bicubic"))


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A CompactModel with the packages' weights, which find_weights has verified."""
    labels, modality = len(task.examples.label_names), task.settings.modality
    weights = _weights(task)
    model = CompactModel(labels, modality)
    if model.modality != "image":
        tensors = safetensors.torch.load_file(weights.text / "model.safetensors")
        lower, layers = {}, {}
        for key, tensor in tensors.items():
            match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.*)", key)
            if match and int(match[1]) >= FROZEN_LAYERS:
                layers[f"{int(match[1]) - FROZEN_LAYERS}.{match[2]}"] = tensor
            elif not key.startswith("pooler.") and key != "embeddings.position_ids":
                lower[key] = tensor
        model.text.load_state_dict(lower)
        model.head.layers.load_state_dict(layers)
    if model.modality != "text":
        # weights_only: nothing but tensors is unpickled, and the file is known anyway.
        values = torch.load(weights.image, map_location="cpu", weights_only=True)
        model.image.load_state_dict(lite0.create_encoder(values).state_dict())
    description = {
        "labels": labels,
        "modality": modality,
        "pretraining_texts": uses_pretraining_texts(task),
    }
    return description, model


def uses_pretraining_texts(task: Task) -> bool:
    """Whether the text encoder is first trained on rated texts.

    An option decides; by default, if the labels are the three sentiments.
    """
    if task.settings.modality == "image":
        return False
    asked = task.settings.options.get("pretraining_texts")
    return are_sentiments(task.examples.label_names) if asked is None else bool(asked)


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """The head, on the outputs of the frozen encoders."""
    settings, origin = task.settings, task.origin
    if origin:  # its layers have learned from pairs already
        if "pretraining_texts" in settings.options:
            raise InputError(
                f"--from {origin.name}: the pretraining texts come before the pairs; leave out "
                "--pretraining-texts and --no-pretraining-texts"
            )
    elif uses_pretraining_texts(task):
        sha256 = _weights(task).sha256
        pretrain(
            model, model.head.layers, inputs.tokenizer, weights=sha256, precision=settings.precision
        )
    elif settings.modality != "image" and "pretraining_texts" not in settings.options:
        logger.info(
            "no pretraining: the rated texts are negative, neutral or positive, and the labels "
            "differ; --pretraining-texts uses them anyway"
        )
    views = embed_images(model, task, inputs, ids)
    states = embed_texts(model, ids)
    train, validation = list(task.train), list(task.validation)
    if not origin:
        model.head.set_statistics(views[train])
    return Prepared(
        model.head,
        StateBatches([states[index] for index in train], views[train]),
        # Mirror images are only for training.
        StateBatches([states[index] for index in validation], views[validation, 0]),
        embed_missing(model, *missing_pair(inputs)),
        pretrained=("layers.",),
    )


def _weights(task: Task) -> CompactCheckpoint:
    assert isinstance(task.weights, CompactCheckpoint)
    return task.weights


def embed_images(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Tensor:
    """Features of every image and its mirror image: float32 [pairs, 2, width].

    They are cached: see cached_embeddings. Zeros if the model does not use images.
    """
    if model.modality == "text":
        return torch.zeros(len(ids), 2, 1)
    # The cache identifies an image by its pair, but its embedding does not depend on the text.
    key = {
        "views": "image and mirror image",
        "batch norms": "folded",
        "weights": module_sha256(model.image),
    }
    return cached_views(model, task, inputs, ids, key).view(-1, 2, lite0.WIDTH)


def embed_texts(model: nn.Module, ids: Ids) -> list[Tensor]:
    """The frozen layers' states of every text: float16 [tokens, width] each.

    Zeros, [tokens, 1], if the model does not use texts. Several processes share the work.
    """
    if model.modality == "image":
        return [torch.zeros(len(item), 1) for item in ids]
    model.eval()
    device = next(model.parameters()).device
    by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    states: dict[int, Tensor] = {}
    starts = range(0, len(ids), BATCH_SIZE)[rank() :: world_size()]
    bar = Progress(name_part("embedding"), len(ids) // world_size(), "texts")
    with torch.inference_mode(), bar as progress:
        for start in starts:
            batch = by_length[start : start + BATCH_SIZE]
            inputs = pad_ids([ids[index] for index in batch])
            embedded = model.embed_text(*(torch.from_numpy(array).to(device) for array in inputs))
            for index, row in zip(batch, embedded.half().cpu()):
                states[index] = row[: len(ids[index])].clone()
            progress.update(len(batch))
    by_index = ChainMap(*all_gather(states))
    return [by_index[index] for index in range(len(ids))]


@torch.no_grad()
def embed_missing(model: nn.Module, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of the stand-ins for a missing text and a missing image.

    ``text``: ids, int64 [tokens]; ``image``: uint8 [height, width, 3]. Returns [tokens, width] and
    [2, width], as above. A model of one modality needs none, and returns both arguments.
    """
    if model.modality != "both":
        return text, image
    device = next(model.parameters()).device
    text, image = text.to(device)[None], image.to(device)[None]
    states, features = model.embed_text(text, torch.ones_like(text)), model.embed_image(image)
    return states[0], features.expand(2, -1)


class CompactHead(nn.Module):
    """The trained part: the text encoder's upper layers, and a linear layer over both encoders.

    ``modality``: "both", or "text" or "image" to see only that one.
    """

    def __init__(self, config: BertConfig, labels: int, modality: str) -> None:
        super().__init__()
        self.modality = modality
        width = 0
        if modality != "image":
            bert = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
            self.layers = nn.ModuleList(bert.encoder.layer[FROZEN_LAYERS:])
            self.text_width = 2 * config.hidden_size
            self.text_norm = nn.LayerNorm(self.text_width, elementwise_affine=False)
            self.text_dropout = nn.Dropout(0.3)
            width += self.text_width
        if modality != "text":
            # Of the training part's features: see set_statistics.
            self.register_buffer("mean", torch.zeros(lite0.WIDTH))
            self.register_buffer("std", torch.ones(lite0.WIDTH))
            self.image_projection = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(lite0.WIDTH, 256), nn.GELU(), nn.Dropout(0.3)
            )
            width += 256
        self.fused = Fused()
        self.classifier = nn.Linear(width, labels)

    @torch.no_grad()
    def set_statistics(self, images: Tensor) -> None:
        """Standardise image features by the statistics of ``images``, [pairs, views, width]."""
        if self.modality != "text":
            rows = images.flatten(0, 1)
            self.mean.copy_(rows.mean(0))
            self.std.copy_(rows.std(0) + 1e-2)  # some features are almost never active

    def text_features(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Means of the text's ``states`` and of what the layers make of them: [batch, 2 x width].

        ``states`` and ``attention_mask`` are as `forward` takes them.
        """
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        # Added to the attention scores: 0 for tokens, almost -inf for padding.
        bias = (1 - mask).transpose(1, 2).unsqueeze(1) * torch.finfo(torch.float32).min
        lower = states
        for layer in self.layers:
            output = layer(states, attention_mask=bias)
            states = output[0] if isinstance(output, tuple) else output
        means = [(item * mask).sum(1) / mask.sum(1) for item in (lower, states)]
        return self.text_dropout(self.text_norm(torch.cat(means, 1)))

    def forward(self, states: Tensor, attention_mask: Tensor, image: Tensor) -> Tensor:
        """Logits, float [batch, labels].

        ``states``: the frozen layers' of the text, float [batch, tokens, width]. ``image``:
        features, float [batch, 1280]. In training, there are views of each, [batch, views, 1280],
        and they are mixed.
        """
        features = []
        if self.modality != "image":
            features.append(self.text_features(states, attention_mask))
        if self.modality != "text":
            if image.dim() == 3:
                image = mix_views(image)
            features.append(self.image_projection((image - self.mean) / self.std))
        return self.classifier(self.fused(torch.cat(features, 1)))


class CompactModel(nn.Module):
    """Frozen encoders below a CompactHead.

    ``modality``: "both", or "text" or "image" to see only that one (the inputs stay the same).
    """

    def __init__(self, labels: int = 3, modality: str = "both") -> None:
        super().__init__()
        self.modality = modality
        bert = BertConfig(**MINILM)  # type: ignore[no-untyped-call]
        if modality != "image":
            self.text = BertModel(bert, add_pooling_layer=False)  # type: ignore[no-untyped-call]
            self.text.encoder.layer = self.text.encoder.layer[:FROZEN_LAYERS]
        self.head = CompactHead(bert, labels, modality)
        if modality != "text":
            self.image = lite0.create_encoder()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("head."))

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States of the frozen layers: float [batch, tokens, width]."""
        return self.text(input_ids=input_ids, attention_mask=attention_mask)[0]

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Features, float [batch, 1280], of uint8 [batch, height, width, 3]."""
        return self.image((pixels.permute(0, 3, 1, 2).float() - 127) / 128)

    def embed(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """The same of each image and of its mirror image, side by side."""
        return embed_views(self.embed_image, pixels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        text, image = self.modality != "image", self.modality != "text"
        states = self.embed_text(input_ids, attention_mask) if text else input_ids
        return self.head(states, attention_mask, self.embed_image(pixels) if image else pixels)


def build(labels: int = 3, modality: str = "both", pretraining_texts: bool = False) -> nn.Module:
    """A CompactModel. ``pretraining_texts`` records how it was trained, and is not used here."""
    return CompactModel(labels, modality)

"""CLIP: its projected text and image embeddings, concatenated, with a small head on top.

On a GPU, all of it is fine-tuned. On a CPU, CLIP is frozen, and each pair is embedded once and
cached. Related dual encoders are trained in the same way.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsent.clip_pin import REPOSITORY
from mmsent_training.batches import FeatureBatches
from mmsent_training.devices import embedding_precision, training_precision
from mmsent_training.models.dual_encoders import (
    find_encoder,
    load_weights,
    read_config,
    read_preprocessing,
    read_tokenizer,
)
from mmsent_training.models.embeddings import cached_embeddings, module_sha256
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.pretrained import without_code
from mmsent_training.models.recipe import Fused, Ids, Inputs, Prepared, Task
from mmsent_training.settings import Device, Precision, Preset, Settings
from mmsent_training.weights.checkpoint import Checkpoint
from mmsent_training.weights.hub import find_clip


def find_weights(sources: Mapping[str, str]) -> Checkpoint:
    """The checkpoint, from a folder, the hub's cache or the hub."""
    return find_clip(sources.get("clip", REPOSITORY))


def default_settings(device: Device, preset: Preset) -> Settings:
    """A GPU trains the whole model, a CPU only the head."""
    gpu, small = device == "cuda", device == "cpu" and preset == "default"
    return Settings(
        model="clip",
        preset=preset,
        device=device,
        precision=training_precision(device),
        options={"freeze": not gpu},
        epochs=10 if gpu else 6,
        batch_size=32 if gpu else 8 if small else 16,
        gradient_accumulation_steps=2 if gpu or small else 1,
        learning_rate=1e-3,
        augment=False,
    )


def read_inputs(task: Task) -> Inputs:
    """The checkpoint's; texts are truncated to the settings' maximum or the encoder's positions."""
    folder = _folder(task)
    config = read_config(folder)
    tokenizer = read_tokenizer(folder, config, task.settings.max_length)
    return Inputs(tokenizer, read_preprocessing(folder, config)[0])


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A ClipClassifier with the checkpoint's weights, always from safetensors.

    Raises MmsentError if they are not those that the checkpoint's config.json describes.
    """
    folder = _folder(task)
    config = read_config(folder)
    _, mean, std = read_preprocessing(folder, config)
    description: dict[str, Any] = {
        "config": config,
        "mean": mean,
        "std": std,
        "labels": len(task.examples.label_names),
        "modality": task.settings.modality,
    }
    model = ClipClassifier(**description)
    load_weights(model.clip, folder, config)
    return description, model


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """The whole model on pairs, or its head on their embeddings."""
    missing = missing_pair(inputs)
    if not task.settings.options["freeze"]:
        return Prepared(model, *pixel_batches(task, inputs, ids), missing, pretrained=("clip.",))
    key = {
        "weights": module_sha256(model.clip),
        "tokenizer": inputs.tokenizer.to_str(),
        "modality": task.settings.modality,
    }

    def embed(part: Sequence[int], precision: Precision) -> FeatureBatches:
        found = cached_embeddings(
            model, task.examples, ids, part, inputs.image, key=key, precision=precision
        )
        return FeatureBatches(torch.from_numpy(found))

    training = embed(task.train, embedding_precision(task.settings.device))
    # Embed the validation pairs as a bundle does, so that their scores apply to it.
    return Prepared(model.head, training, embed(task.validation, "fp32"), missing)


def _folder(task: Task) -> Path:
    assert isinstance(task.weights, Checkpoint)
    return task.weights.folder


class ClipClassifier(nn.Module):
    """CLIP with Linear-ReLU-Dropout-Linear over its embeddings, each of length 1.

    ``config`` is that of CLIP or a relative, as a dictionary; ``mean`` and ``std`` are those of the
    checkpoint's preprocessing, on the scale 0 to 1. ``modality``: "both", or "text" or "image" to
    see only that one (the inputs stay the same).
    """

    def __init__(
        self,
        config: dict[str, Any],
        mean: list[float],
        std: list[float],
        labels: int = 3,
        modality: str = "both",
    ) -> None:
        super().__init__()
        self.modality = modality
        self.encoder = find_encoder(config.get("model_type", "clip"))
        self.clip = self.encoder.model(self.encoder.config.from_dict(without_code(config)))
        # An unused encoder gets no gradient, and would only take space in a bundle.
        for name, parameter in self.clip.named_parameters():
            parameter.requires_grad_(not name.startswith("logit_"))
        unused = {"text": self.encoder.image, "image": self.encoder.text}
        for name in unused.get(modality, ()):
            delattr(self.clip, name)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        text, image = self.encoder.widths(self.clip.config)
        width = {"both": text + image, "text": text, "image": image}[modality]
        self.fused = Fused()
        self.head = nn.Sequential(
            nn.Linear(width, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, labels),
        )

    def embed(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """The head's input, text before image: float [batch, both widths]."""
        embeddings = []
        if self.modality != "image":
            embeddings.append(self.encoder.embed_text(self.clip, input_ids, attention_mask))
        if self.modality != "text":
            scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
            embeddings.append(self.encoder.embed_image(self.clip, scaled))
        return torch.cat([nn.functional.normalize(item.float(), dim=-1) for item in embeddings], 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        return self.head(self.fused(self.embed(input_ids, attention_mask, pixels)))


build = ClipClassifier

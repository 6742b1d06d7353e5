"""The CLIP model: both of CLIP's projected embeddings, side by side, under a small head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from mmsent.errors import InputError, MmsentError
from mmsent.image import ImageSettings

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as preprocessor_config.json has them


class ClipClassifier(nn.Module):
    """CLIP with Linear-ReLU-Dropout-Linear over its embeddings, each of length 1.

    ``config`` is a CLIPConfig as a dictionary; ``mean`` and ``std`` are those of the checkpoint's
    preprocessing, on the scale 0 to 1. ``modality``: "both", or "text" or "image" to see only that
    one (the inputs stay the same).
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
        self.clip = CLIPModel(CLIPConfig.from_dict(without_code(config)))
        # What is never used gets no gradient, and is not worth its bytes in a bundle.
        self.clip.logit_scale.requires_grad_(False)
        if modality == "text":
            del self.clip.vision_model, self.clip.visual_projection
        elif modality == "image":
            del self.clip.text_model, self.clip.text_projection
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        width = self.clip.config.projection_dim
        self.head = nn.Sequential(
            nn.Linear(2 * width if modality == "both" else width, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, labels),
        )

    def encode(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """The embeddings that the head sees, text before image: float [batch, 2 x projection]."""
        embeddings = []
        if self.modality != "image":
            text = self.clip.text_model(input_ids=input_ids, attention_mask=attention_mask)
            embeddings.append(self.clip.text_projection(text.pooler_output))
        if self.modality != "text":
            scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
            image = self.clip.vision_model(pixel_values=scaled)
            embeddings.append(self.clip.visual_projection(image.pooler_output))
        return torch.cat([nn.functional.normalize(item.float(), dim=-1) for item in embeddings], 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """Logits, float [batch, labels]."""
        return self.head(self.encode(input_ids, attention_mask, pixels))


def without_code(config: Any) -> Any:
    """A configuration without what makes transformers run code that it names.

    "attn_implementation": "owner/name", under several names and at any depth, is fetched from the
    hub and run, where the package kernels is installed; "auto_map" names a checkpoint's own code.
    """
    if not isinstance(config, dict):
        return config
    return {
        key: without_code(value)
        for key, value in config.items()
        if "attn_implementation" not in str(key) and key != "auto_map"
    }


def describe(folder: Path, *, labels: int, modality: str) -> dict[str, Any]:
    """The description of a ClipClassifier over the checkpoint in ``folder``, for build_model."""
    config = CLIPConfig.from_pretrained(folder).to_dict()
    preprocessing = _preprocessing(folder)
    return {
        "name": "clip",
        "config": config,
        "mean": preprocessing["image_mean"],
        "std": preprocessing["image_std"],
        "labels": labels,
        "modality": modality,
    }


def load_pretrained(model: nn.Module, folder: Path) -> None:
    """Put the checkpoint's weights, always from safetensors, into a ClipClassifier.

    Raises MmsentError where they are not those that the checkpoint's config.json describes.
    """
    try:
        pretrained, report = CLIPModel.from_pretrained(
            folder,
            config=CLIPConfig.from_dict(without_code(CLIPConfig.from_pretrained(folder).to_dict())),
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except RuntimeError as error:  # a shape that differs
        raise MmsentError(f"the weights in {folder} do not fit its config.json: {error}") from None
    if report["missing_keys"]:  # transformers would go on, with random ones in their place
        missing = ", ".join(sorted(report["missing_keys"]))
        raise MmsentError(f"the weights in {folder} do not fit its config.json: no {missing}")
    used = model.clip.state_dict().keys()
    weights = {name: value for name, value in pretrained.state_dict().items() if name in used}
    model.clip.load_state_dict(weights)


def read_tokenizer(folder: Path, *, max_length: int) -> Tokenizer:
    """The checkpoint's tokenizer, cutting texts to ``max_length`` tokens or CLIP's positions.

    The post-processor adds the end token after the cut, so that it is always there: the text
    encoder pools at it.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    positions = CLIPConfig.from_pretrained(folder).text_config.max_position_embeddings
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_length, positions))
    return tokenizer


def image_settings(folder: Path) -> ImageSettings:
    """The checkpoint's preprocessing of images. Raises InputError where it is not CLIP's."""
    config = _preprocessing(folder)
    size, crop = config["size"], config["crop_size"]
    edge = size["shortest_edge"] if isinstance(size, dict) else size
    square = {crop["height"], crop["width"]} if isinstance(crop, dict) else {crop}
    if square != {edge} or config["resample"] not in RESAMPLE:
        raise InputError(
            f"{folder / 'preprocessor_config.json'} asks for other preprocessing than scaling the "
            "shorter edge and cutting out a square of that size"
        )
    return ImageSettings(size=edge, resize="crop", filter=RESAMPLE[config["resample"]])


def _preprocessing(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))

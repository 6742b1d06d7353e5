"""CLIP: both of its projected embeddings, side by side, under a small head.

Fine-tuned on a GPU; on a CPU frozen, with each pair embedded once and cached.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from mmsent.clip_pin import REPOSITORY
from mmsent.errors import InputError, MmsentError
from mmsent.inputs.image import ImageSettings
from mmsent_training.batches import FeatureBatches
from mmsent_training.devices import embedding_precision, training_precision
from mmsent_training.models.embeddings import cached_embeddings
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.recipe import Ids, Inputs, Prepared, Task
from mmsent_training.settings import Device, Precision, Preset, Settings
from mmsent_training.weights.checkpoint import ClipCheckpoint
from mmsent_training.weights.hub import find_clip

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as preprocessor_config.json has them


def find_weights(sources: Mapping[str, str]) -> ClipCheckpoint:
    """The checkpoint, from a folder, the hub's cache or the hub."""
    return find_clip(sources.get("clip", REPOSITORY))


def default_settings(device: Device, preset: Preset) -> Settings:
    """A GPU fine-tunes all of it, a CPU the head."""
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
    """The checkpoint's own, cutting texts to the settings' maximum or CLIP's positions.

    The tokenizer's post-processor adds the end token after the cut, so that it is always there:
    the text encoder pools at it.
    """
    folder = _folder(task)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    positions = CLIPConfig.from_pretrained(folder).text_config.max_position_embeddings
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(task.settings.max_length, positions))
    return Inputs(tokenizer, _image_settings(folder))


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A ClipClassifier with the checkpoint's weights, always from safetensors.

    Raises MmsentError where they are not those that the checkpoint's config.json describes.
    """
    folder = _folder(task)
    preprocessing = _preprocessing(folder)
    config = CLIPConfig.from_pretrained(folder).to_dict()
    description = {
        "config": config,
        "mean": preprocessing["image_mean"],
        "std": preprocessing["image_std"],
        "labels": len(task.examples.label_names),
        "modality": task.settings.modality,
    }
    model = ClipClassifier(**description)
    try:
        pretrained, report = CLIPModel.from_pretrained(
            folder,
            config=CLIPConfig.from_dict(without_code(config)),
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
    return description, model


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """All of the model on pairs, or its head on their embeddings."""
    missing = missing_pair(inputs)
    if not task.settings.options["freeze"]:
        return Prepared(model, *pixel_batches(task, inputs, ids), missing, pretrained=("clip.",))
    assert task.weights is not None, "CLIP is never trained from nothing"
    key = {
        "weights": task.weights.sha256,
        "tokenizer": inputs.tokenizer.to_str(),
        "modality": task.settings.modality,
    }

    def embed(part: Sequence[int], precision: Precision) -> FeatureBatches:
        found = cached_embeddings(
            model, task.examples, ids, part, inputs.image, key=key, precision=precision
        )
        return FeatureBatches(torch.from_numpy(found))

    training = embed(task.train, embedding_precision(task.settings.device))
    # The validation pairs are embedded as a bundle does it, so that their scores hold.
    return Prepared(model.head, training, embed(task.validation, "fp32"), missing)


def _folder(task: Task) -> Path:
    assert isinstance(task.weights, ClipCheckpoint)
    return task.weights.folder


def _image_settings(folder: Path) -> ImageSettings:
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

    def embed(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """The embeddings that the head sees, text before image: float [batch, 2 x projection]."""
        embeddings = []
        if self.modality != "image":
            encoder = self.clip.text_model
            text = encoder(
                input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
            )
            # A configuration that says 2 is older than transformers' pull request 24773, and wrong:
            # the end token is then the highest of CLIP's vocabulary.
            token = self.clip.config.text_config.eos_token_id
            ends = input_ids if token == 2 else input_ids == token
            end = ends.int().argmax(dim=-1)  # the first of each text
            pooled = _last_layer(encoder.encoder.layers[-1], text.hidden_states[-2], end)
            embeddings.append(self.clip.text_projection(encoder.final_layer_norm(pooled)))
        if self.modality != "text":
            scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
            encoder = self.clip.vision_model
            image = encoder(pixel_values=scaled, output_hidden_states=True)
            pooled = _last_layer(encoder.encoder.layers[-1], image.hidden_states[-2])
            embeddings.append(self.clip.visual_projection(encoder.post_layernorm(pooled)))
        return torch.cat([nn.functional.normalize(item.float(), dim=-1) for item in embeddings], 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        return self.head(self.embed(input_ids, attention_mask, pixels))


def _last_layer(layer: CLIPEncoderLayer, hidden: Tensor, end: Tensor | None = None) -> Tensor:
    """``layer``'s output for the one position that is pooled: float [batch, width].

    ``hidden``: its input, float [batch, tokens, width]. The position is the first, which sees all,
    or that of ``end``, int64 [batch], which sees those up to it. A position's output needs the
    others' keys and values alone: a bundle so leaves out 7 % of CLIP's arithmetic.
    """
    attention, (batch, tokens, width) = layer.self_attn, hidden.shape
    rows = torch.arange(batch, device=hidden.device)
    pooled = hidden[:, 0] if end is None else hidden[rows, end]

    def by_head(projected: Tensor) -> Tensor:
        return projected.view(batch, -1, attention.num_heads, attention.head_dim).transpose(1, 2)

    normed = layer.layer_norm1(hidden)
    query = by_head(attention.q_proj(layer.layer_norm1(pooled)))
    scores = query @ by_head(attention.k_proj(normed)).transpose(2, 3) * attention.scale
    if end is not None:
        later = torch.arange(tokens, device=hidden.device) > end[:, None]
        scores = scores.masked_fill(later[:, None, None], torch.finfo(scores.dtype).min)
    shares = nn.functional.dropout(scores.softmax(dim=-1), attention.dropout, layer.training)
    mixed = (shares @ by_head(attention.v_proj(normed))).reshape(batch, width)
    pooled = pooled + attention.out_proj(mixed)
    return pooled + layer.mlp(layer.layer_norm2(pooled))


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


build = ClipClassifier

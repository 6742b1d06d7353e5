"""Dual encoders of transformers with projected embeddings: CLIP and related models.

They differ in how texts are padded and pooled. Other differences are in the checkpoint's files: the
tokenizer and the resizing of images.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    BertTokenizerFast,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    PretrainedConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings
from mmsent_training.models.pretrained import load_pretrained, load_tokenizer, without_code
from mmsent_training.weights.checkpoint import (
    CLIP,
    PREPROCESSOR,
    TOKENIZER,
    TOKENIZER_CONFIG,
    read_model_type,
)

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as preprocessor_config.json has them


@dataclass(frozen=True)
class DualEncoder:
    """A kind of dual encoder; its functions take a model of the class ``model``.

    ``text`` and ``image`` name the modules that embed each, ``embed_text`` maps ids and mask, int64
    [batch, tokens], and ``embed_image`` scaled pixels, float [batch, 3, height, width], to the
    projected embeddings, float [batch, width]. ``widths`` are those of a text's and an image's.
    """

    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    text: tuple[str, ...]
    image: tuple[str, ...]
    embed_text: Callable[[Any, Tensor, Tensor], Tensor]
    embed_image: Callable[[Any, Tensor], Tensor]
    widths: Callable[[Any], tuple[int, int]]


def find_encoder(model_type: str) -> DualEncoder:
    """The kind of that name: one of the checkpoints' MODEL_TYPES."""
    return _ENCODERS[model_type]


# A checkpoint's files


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's complete configuration, with the padding token of its texts.

    Raises InputError if mmsent can't train the model.
    """
    model_type = read_model_type(folder, str(folder), CLIP)
    config = find_encoder(model_type).config.from_pretrained(folder).to_dict()
    if model_type == "siglip":
        config["text_config"]["pad_token_id"] = _pad_token(folder)
        if config["vision_config"].get("vision_use_head") is False:
            raise InputError(f"{folder / 'config.json'} describes no pooled image embedding")
    return config


def load_weights(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """Load the checkpoint's weights for ``model``, always from safetensors.

    Raises MmsentError if they do not match the checkpoint's config.json.
    """
    encoder = find_encoder(config["model_type"])
    described = encoder.config.from_dict(without_code(config))
    pretrained = load_pretrained(encoder.model, folder, described)
    used = model.state_dict().keys()
    weights = {name: value for name, value in pretrained.state_dict().items() if name in used}
    model.load_state_dict(weights)


def read_tokenizer(folder: Path, config: dict[str, Any], max_length: int) -> Tokenizer:
    """The checkpoint's tokenizer; it truncates to ``max_length`` or the encoder's positions.

    Its post-processor adds the end token, at which CLIP pools, after the truncation. For a
    vocab.txt, which is BERT's, transformers builds the tokenizer.
    """
    text = config["text_config"]
    return load_tokenizer(
        folder, BertTokenizerFast.from_pretrained, vocabulary=text["vocab_size"],
        positions=text["max_position_embeddings"], max_length=max_length,
    )  # fmt: skip


def read_preprocessing(
    folder: Path, encoder: dict[str, Any]
) -> tuple[ImageSettings, list[float], list[float]]:
    """The resizing of the checkpoint's images, and their mean and deviation, scaled to 0 to 1.

    ``encoder``: its configuration. Raises InputError if preprocessor_config.json requires something
    that a bundle does not support, or another size than the encoder's.
    """
    path = folder / PREPROCESSOR
    config = json.loads(path.read_text(encoding="utf-8"))
    needed = encoder["vision_config"]["image_size"]
    try:
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not config.get(step, True):
                raise ValueError(f"{step} is off")
        if not math.isclose(config.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3):
            raise ValueError("the scale is not 0 to 1")
        size, crop = config["size"], config.get("crop_size")
        stretched = isinstance(size, dict) and "shortest_edge" not in size
        edges = {size["height"], size["width"]} if stretched else {_edge(size)}
        if config.get("do_center_crop", not stretched):
            edges |= {crop["height"], crop["width"]} if isinstance(crop, dict) else {crop}
        elif not stretched:
            raise ValueError("images keep their shape")
        if edges != {needed}:
            raise ValueError(f"images do not become squares of {needed} pixels")
        resize = "stretch" if stretched else "crop"
        settings = ImageSettings(needed, resize, RESAMPLE[config["resample"]])
        return settings, *read_scale(config["image_mean"], config["image_std"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path} asks for preprocessing that no bundle can do: {reason}") from None


def read_scale(mean: Any, std: Any) -> tuple[list[float], list[float]]:
    """The mean and deviation of each channel. Raises ValueError or TypeError for other values."""
    values = [each if isinstance(each, list) else [each] * 3 for each in (mean, std)]
    for each in values:
        if len(each) not in (1, 3) or not all(math.isfinite(value) for value in each):
            raise ValueError(f"{each} are not the values of three channels")
    if min(values[1]) <= 0:
        raise ValueError(f"the standard deviation {values[1]} is not positive")
    return values[0], values[1]


def _edge(size: Any) -> int:
    return size["shortest_edge"] if isinstance(size, dict) else size


def _pad_token(folder: Path) -> int:
    """The id of the padding token that tokenizer_config.json names."""
    path = folder / TOKENIZER_CONFIG
    named = json.loads(path.read_text(encoding="utf-8")).get("pad_token")
    token = named.get("content") if isinstance(named, dict) else named
    found = Tokenizer.from_file(str(folder / TOKENIZER)).token_to_id(str(token))
    if found is None:
        raise InputError(f"{path}: the pad_token {token!r} is not in {folder / TOKENIZER}")
    return found


# Embeddings


def _clip_text(clip: CLIPModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Pooled at the first end token of each text."""
    encoder = clip.text_model
    text = encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
    # A configuration that says 2 is older than transformers' pull request 24773, and wrong: the
    # end token is then the highest of CLIP's vocabulary.
    token = clip.config.text_config.eos_token_id
    ends = input_ids if token == 2 else input_ids == token
    end = ends.int().argmax(dim=-1)
    pooled = _last_layer(encoder.encoder.layers[-1], text.hidden_states[-2], end)
    return clip.text_projection(encoder.final_layer_norm(pooled))


def _clip_image(clip: CLIPModel, scaled: Tensor) -> Tensor:
    encoder = clip.vision_model
    image = encoder(pixel_values=scaled, output_hidden_states=True)
    pooled = _last_layer(encoder.encoder.layers[-1], image.hidden_states[-2])
    return clip.visual_projection(encoder.post_layernorm(pooled))


def _chinese_clip_text(clip: ChineseCLIPModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """A BERT, pooled at its first token; padding is masked."""
    text = clip.text_model(input_ids=input_ids, attention_mask=attention_mask)
    return clip.text_projection(text.last_hidden_state[:, 0])


def _chinese_clip_image(clip: ChineseCLIPModel, scaled: Tensor) -> Tensor:
    return clip.visual_projection(clip.vision_model(pixel_values=scaled).pooler_output)


def _siglip_text(siglip: SiglipModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Pooled at the last position, which sees the padding.

    SigLIP was trained on texts that are padded to all its positions, with a token that is not
    masked. Texts are padded in the same way here, whatever their batch.
    """
    config: Any = siglip.config.text_config
    positions, pad = config.max_position_embeddings, config.pad_token_id
    ids = input_ids.masked_fill(attention_mask == 0, pad)
    padding = ids.new_full((ids.shape[0], positions), pad)
    padded = torch.cat([ids, padding], dim=1)[:, :positions]
    return siglip.text_model(input_ids=padded).pooler_output


def _siglip_image(siglip: SiglipModel, scaled: Tensor) -> Tensor:
    return siglip.vision_model(pixel_values=scaled).pooler_output


def _last_layer(layer: CLIPEncoderLayer, hidden: Tensor, end: Tensor | None = None) -> Tensor:
    """``layer``'s output for the one position that is pooled: float [batch, width].

    ``hidden``: its input, float [batch, tokens, width]. The position is the first, which sees all
    positions, or ``end``, int64 [batch], which sees those up to it. Its output needs only the keys
    and values of the others, which saves 7 % of CLIP's arithmetic in a bundle.
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


_PROJECTED = ("text_model", "text_projection"), ("vision_model", "visual_projection")
_ENCODERS = {
    "clip": DualEncoder(
        CLIPConfig, CLIPModel, *_PROJECTED, _clip_text, _clip_image,
        lambda config: (config.projection_dim, config.projection_dim),
    ),
    "chinese_clip": DualEncoder(
        ChineseCLIPConfig, ChineseCLIPModel, *_PROJECTED, _chinese_clip_text, _chinese_clip_image,
        lambda config: (config.projection_dim, config.projection_dim),
    ),
    "siglip": DualEncoder(
        SiglipConfig, SiglipModel, ("text_model",), ("vision_model",), _siglip_text, _siglip_image,
        lambda config: (config.text_config.projection_size, config.vision_config.hidden_size),
    ),
}  # fmt: skip

"""Image encoders of timm and transformers, split into frozen lower blocks and trained upper ones.

A block is a stage of a convolutional network, or a layer of a transformer.
"""

import copy
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from mmsent.errors import InputError, MmsentError
from mmsent.inputs.image import ImageSettings
from mmsent_training.models.image_preprocessing import read_preprocessing
from mmsent_training.models.pretrained import described, load_pretrained, without_code
from mmsent_training.weights.checkpoint import Checkpoint, file_names
from mmsent_training.weights.encoders import IMAGE
from mmsent_training.weights.packages import IMAGE_FILE, IMAGE_SHA256


@dataclass(frozen=True)
class _Timm:
    """A class of timm: the names of its blocks, and of what comes before and after them."""

    blocks: str
    before: tuple[str, ...]
    after: tuple[str, ...]


_TOKENS = ("patch_embed", "cls_token", "reg_token", "pos_embed", "norm_pre")
_TIMM = {
    "EfficientNet": _Timm("blocks", ("conv_stem", "bn1"), ("conv_head", "bn2")),
    "ConvNeXt": _Timm("stages", ("stem",), ("norm_pre",)),
    "VisionTransformer": _Timm("blocks", _TOKENS, ("norm",)),
}
_NOT_OF_NETWORKS = (
    "cache_dir", "checkpoint_path", "num_classes", "pretrained", "pretrained_cfg",
    "pretrained_cfg_overlay",
)  # fmt: skip
"""timm loads what "checkpoint_path" names, even a pickle."""
_HEAD = ("head", "fc_norm", "attn_pool")
"""What pools, if an encoder has it."""


@dataclass(frozen=True)
class _Transformer:
    """Of transformers: the classes, and where the layers and the last normalisation are."""

    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    layers: str
    norm: str


_TRANSFORMERS = {
    "vit": _Transformer(ViTConfig, ViTModel, "encoder.layer", "layernorm"),
    "dinov2": _Transformer(Dinov2Config, Dinov2Model, "encoder.layer", "layernorm"),
    "clip_vision_model": _Transformer(
        CLIPVisionConfig, CLIPVisionModel, "encoder.layers", "post_layernorm"
    ),
    "siglip_vision_model": _Transformer(
        SiglipVisionConfig, SiglipVisionModel, "encoder.layers", "post_layernorm"
    ),
}
_TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Checkpoints of whole dual encoders, whose image tower is used."""


RELEASED: tuple[dict[str, Any], ImageSettings, list[float], list[float]] = (
    {"model_type": "timm", "architecture": "tf_efficientnet_lite0", "arguments": {}},
    ImageSettings(size=224, resize="stretch", filter="bicubic"),
    [127 / 255] * 3,
    [128 / 255] * 3,
)
"""Configuration and preprocessing of EfficientNet-Lite0, whose package has none."""


def read_encoder(
    source: Checkpoint,
) -> tuple[dict[str, Any], ImageSettings, list[float], list[float]]:
    """The configuration of an encoder, and the rest as `read_preprocessing` returns it."""
    if source.sha256 == IMAGE_SHA256:
        return RELEASED
    path = source.folder / "config.json"
    with described(path):
        config = read_config(source.folder)
    settings, mean, std = read_preprocessing(source.folder, config)
    with described(path):
        _check_shapes(config, settings.size)
    return config, settings, mean, std


def _check_shapes(config: dict[str, Any], size: int) -> None:
    """Raises an error if the encoder does not make features of squares of ``size`` pixels."""
    encoder = outline(config)
    width = feature_width(encoder)
    made = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    if made not in (None, (size, size)):
        raise ValueError(f"it is for images of {made[0]} x {made[1]} pixels, not of {size}")
    _, whole = split_image_encoder(encoder.eval(), None)
    assert whole is not None
    found = tuple(whole(torch.empty(1, 3, size, size, device="meta")).shape)
    if found != (1, width):
        raise ValueError(f"it makes values of the shape {found} of an image, not {width} features")


def read_config(folder: Path) -> dict[str, Any]:
    """The arguments of `make_image_encoder` for the encoder in ``folder``."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "architecture" in config and "model_type" not in config:
        return {
            "model_type": "timm",
            "architecture": config["architecture"],
            "arguments": _network_arguments(config.get("model_args") or {}),
        }
    found = config["model_type"]
    kind = _TRANSFORMERS[_TOWERS.get(found, found)]
    if found in _TOWERS:
        config = config.get("vision_config") or {}
    complete = kind.config.from_dict(without_code(config)).to_dict()
    if complete.get("vision_use_head") is False:
        raise InputError(f"{folder / 'config.json'} describes no pooled image embedding")
    return complete


def _network_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of timm that describe a network: none reads a file or is mmsent's own."""
    return {name: value for name, value in arguments.items() if name not in _NOT_OF_NETWORKS}


def make_image_encoder(config: dict[str, Any]) -> nn.Module:
    """The encoder of a configuration from `read_config`, with random weights.

    Raises InputError if mmsent does not support it.
    """
    if config["model_type"] != "timm":
        kind = _TRANSFORMERS[config["model_type"]]
        # The exporter of torch 2.4 supports only eager attention.
        described: Any = kind.config.from_dict(without_code(config), attn_implementation="eager")
        pooled = {"add_pooling_layer": False} if kind.model is ViTModel else {}
        model: Any = kind.model(described, **pooled)
        return getattr(model, "vision_model", model)
    import timm

    name = config["architecture"]
    if name not in timm.list_models():
        raise InputError(f"this timm has no architecture {name!r}; a newer one may have it")
    arguments = _network_arguments(config["arguments"])
    encoder = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    if type(encoder).__name__ not in _TIMM:
        raise InputError(
            f"the image encoder {name} is a {type(encoder).__name__}; of timm, mmsent trains "
            f"{', '.join(_TIMM)}"
        )
    module: Any
    for module in encoder.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # as for transformers
    return encoder


def load_image_encoder(source: Checkpoint, config: dict[str, Any]) -> nn.Module:
    """The encoder with its verified weights.

    Raises MmsentError if they do not match ``config``.
    """
    encoder, folder = make_image_encoder(config), source.folder
    if config["model_type"] != "timm":
        kind = _TRANSFORMERS[config["model_type"]]
        loaded = load_pretrained(
            kind.model, folder, kind.config.from_dict(without_code(config)), optional=("pooler.",)
        )
        weights = getattr(loaded, "vision_model", loaded).state_dict()
    elif source.sha256 == IMAGE_SHA256:
        # weights_only: nothing but tensors is unpickled, and the file is known anyway.
        path = folder / Path(IMAGE_FILE).name
        values = torch.load(path, map_location="cpu", weights_only=True)
        # They have other names, in the same order; the last two are ImageNet's classifier.
        weights = dict(zip(encoder.state_dict(), values.values()))
    else:
        weights = {}
        for file in file_names(folder, source.name, IMAGE):
            if file.endswith(".safetensors"):
                weights |= safetensors.torch.load_file(folder / file)
    names = encoder.state_dict().keys()
    try:
        encoder.load_state_dict({name: value for name, value in weights.items() if name in names})
    except RuntimeError as error:
        raise MmsentError(f"the weights in {folder} do not fit its config.json: {error}") from None
    return encoder


def outline(config: dict[str, Any]) -> nn.Module:
    """The encoder of a configuration without weights, which allocates nothing."""
    with torch.device("meta"):
        return make_image_encoder(config)


def feature_width(encoder: nn.Module) -> int:
    """The number of features of an image."""
    found: Any = encoder
    return int(found.num_features if _is_timm(encoder) else found.config.hidden_size)


def block_count(encoder: nn.Module) -> int:
    return len(_blocks(encoder))


def split_image_encoder(
    encoder: nn.Module, trained: int | None
) -> tuple[nn.Module | None, "UpperBlocks | None"]:
    """The encoder without its last ``trained`` blocks, and those with the pooling.

    None for ``trained`` trains all: then there is no lower part. Without trained blocks there is no
    upper part, and the lower one returns features, float [batch, width].
    """
    if trained is None:
        return None, UpperBlocks(encoder, 0, whole=True)
    if trained == 0:
        return UpperBlocks(encoder, 0, whole=True), None
    cut = block_count(encoder) - trained
    upper = UpperBlocks(copy.deepcopy(encoder), cut)
    return LowerBlocks(encoder, cut), upper


class LowerBlocks(nn.Module):
    """The first ``cut`` blocks of an encoder and what comes before them."""

    def __init__(self, encoder: nn.Module, cut: int) -> None:
        super().__init__()
        _set_blocks(encoder, slice(None, cut))
        _drop(encoder, (*_after(encoder), *_HEAD))
        self.encoder = encoder

    def forward(self, scaled: Tensor) -> Tensor:
        """Maps or tokens of float [batch, 3, height, width]."""
        return _states(self.encoder, scaled)


class UpperBlocks(nn.Module):
    """The blocks of an encoder from ``cut`` on, its last normalisation and its pooling.

    ``whole``: with what comes before the blocks.
    """

    def __init__(self, encoder: nn.Module, cut: int, *, whole: bool = False) -> None:
        super().__init__()
        self.whole, self.checkpointing = whole, False
        self.blocks = nn.ModuleList(_blocks(encoder)[cut:])
        self.after = nn.ModuleList(getattr(encoder, name) for name in _after(encoder))
        _set_blocks(encoder, slice(0, 0))
        _drop(encoder, _after(encoder))
        self.timm = _is_timm(encoder)
        self.head: nn.Module | None = None
        if self.timm:  # its networks pool with their method forward_head
            if not whole:
                _drop(encoder, _TIMM[type(encoder).__name__].before)
            self.encoder: nn.Module | None = encoder
        else:  # SigLIP pools with a head, the others take the first token
            self.head = getattr(encoder, "head", None)
            _drop(encoder, _HEAD)
            self.encoder = encoder if whole else None
        parameters = inspect.signature(self.blocks[0].forward).parameters if self.blocks else ()
        # CLIP's and SigLIP's layers require masks; an image has none.
        self.masks = {name: None for name in parameters if name.endswith("attention_mask")}

    @property
    def depths(self) -> dict[str, int]:
        """The number of blocks above each part: by the beginnings of its parameters' names."""
        count = len(self.blocks)
        blocks = {f"blocks.{number}.": count - 1 - number for number in range(count)}
        return {"": 0, "encoder.": count} | {f"encoder.{name}.": 0 for name in _HEAD} | blocks

    def forward(self, states: Tensor) -> Tensor:
        """Features, float [batch, width], of what the lower part returns or, if whole, images."""
        if self.whole and self.encoder is not None:
            states = _states(self.encoder, states)
        for block in self.blocks:
            if self.checkpointing and self.training:
                found: Any = checkpoint(block, states, use_reentrant=False, **self.masks)
            else:
                found = block(states, **self.masks)
            states = found[0] if isinstance(found, tuple) else found
        if not self.timm and self.head is None:
            states = states[:, 0]
        for module in self.after:
            states = module(states)
        if self.head is not None:
            return self.head(states)
        if self.timm and self.encoder is not None:
            return self.encoder.forward_head(states)
        return states


def is_transformer(encoder: nn.Module) -> bool:
    """Whether its blocks return tokens, [batch, tokens, width], not maps."""
    return type(encoder).__name__ not in ("EfficientNet", "ConvNeXt")


def _is_timm(encoder: nn.Module) -> bool:
    return type(encoder).__name__ in _TIMM


def _drop(encoder: nn.Module, names: tuple[str, ...]) -> None:
    """Leave out parts of an encoder, where it has them."""
    for name in names:
        if isinstance(part := getattr(encoder, name, None), nn.Module):
            setattr(encoder, name, nn.Identity())
        elif isinstance(part, nn.Parameter):
            setattr(encoder, name, None)


def _states(encoder: nn.Module, scaled: Tensor) -> Tensor:
    """The output of the last block."""
    if _is_timm(encoder):
        return encoder.forward_features(scaled)
    return encoder(pixel_values=scaled)["last_hidden_state"]


def _kind(encoder: Any) -> _Transformer:
    return _TRANSFORMERS[encoder.config.model_type]


def _path(encoder: nn.Module) -> str:
    found = _TIMM.get(type(encoder).__name__)
    return found.blocks if found else _kind(encoder).layers


def _after(encoder: nn.Module) -> tuple[str, ...]:
    found = _TIMM.get(type(encoder).__name__)
    return found.after if found else (_kind(encoder).norm,)


def _blocks(encoder: nn.Module) -> Any:
    return encoder.get_submodule(_path(encoder))


def _set_blocks(encoder: nn.Module, kept: slice) -> None:
    *parents, name = _path(encoder).split(".")
    setattr(encoder.get_submodule(".".join(parents)), name, _blocks(encoder)[kept])

"""Text encoders of transformers, split into frozen lower layers and trained upper ones."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel

from mmsent_training.models.pretrained import (
    described,
    load_pretrained,
    load_tokenizer,
    without_code,
)

_LAYERS = {
    "bert": "encoder.layer",
    "camembert": "encoder.layer",
    "distilbert": "transformer.layer",
    "mpnet": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}
"""Where each type of encoder has its layers. Nothing follows the last one."""

_COUNTED = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""The types whose positions are counted from their padding token's id on."""

POOLING = Path("1_Pooling") / "config.json"
"""Where sentence-transformers says how texts are pooled."""


def read_config(folder: Path) -> dict[str, Any]:
    """The complete configuration of the encoder in ``folder``, without code.

    Raises InputError if there is no such encoder.
    """
    path = folder / "config.json"
    with described(path):
        config = make_config(json.loads(path.read_text(encoding="utf-8"))).to_dict()
        if config["model_type"] in _COUNTED and config["pad_token_id"] is None:
            raise ValueError("it has no pad_token_id")
        with torch.device("meta"):
            make_text_encoder(config)
    return config


def pools_first(folder: Path) -> bool:
    """Whether the folder's own files say that texts are pooled at their first token."""
    try:
        pooling = json.loads((folder / POOLING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(pooling, dict) and bool(pooling.get("pooling_mode_cls_token"))


def read_tokenizer(folder: Path, config: dict[str, Any], max_length: int) -> Tokenizer:
    """The encoder's tokenizer; it truncates to ``max_length`` or the encoder's positions.

    Raises InputError if it can't be used, or its tokens are more than the encoder's.
    """
    counted = config["model_type"] in _COUNTED
    positions = config["max_position_embeddings"] - (config["pad_token_id"] + 1 if counted else 0)
    return load_tokenizer(
        folder, _build_tokenizer, vocabulary=config["vocab_size"], positions=positions,
        max_length=max_length,
    )  # fmt: skip


def _build_tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
        folder, local_files_only=True, trust_remote_code=False, use_fast=True
    )


def make_config(config: dict[str, Any]) -> PretrainedConfig:
    """The configuration as transformers has it: its names are the same for all encoders."""
    return AutoConfig.for_model(**without_code(config))


def make_text_encoder(config: dict[str, Any]) -> PreTrainedModel:
    """The encoder of a configuration, with random weights."""
    pooler = {} if config["model_type"] == "distilbert" else {"add_pooling_layer": False}
    # The exporter of torch 2.4 supports only eager attention.
    encoder = AutoModel.from_config(  # type: ignore[no-untyped-call]
        make_config(config), attn_implementation="eager", trust_remote_code=False, **pooler
    )
    # Weights that were saved in fp16 or bf16 have that type in their configuration.
    return cast(PreTrainedModel, encoder.float())


def load_text_encoder(folder: Path, config: dict[str, Any]) -> PreTrainedModel:
    """The encoder with the weights in ``folder``, always from safetensors.

    Raises MmsentError if they do not match ``config``.
    """
    encoder = make_text_encoder(config)
    loaded = load_pretrained(type(encoder), folder, encoder.config, optional=("pooler.",))
    loaded.pooler = None
    encoder.load_state_dict(loaded.state_dict())
    return encoder


def split_text_encoder(
    encoder: PreTrainedModel, trained: int | None
) -> tuple[PreTrainedModel | None, PreTrainedModel | None]:
    """The encoder without its last ``trained`` layers, and those layers.

    None for ``trained`` trains all, with the embeddings: then there is no lower part. Without
    trained layers there is no upper part. The upper part takes states as ``inputs_embeds``.
    """
    if trained is None:
        return None, encoder
    if trained == 0:
        return encoder, None
    cut = len(_layers(encoder)) - trained
    upper = copy.deepcopy(encoder)
    upper.embeddings = _States()
    _set_layers(upper, _layers(upper)[cut:])
    _set_layers(encoder, _layers(encoder)[:cut])
    return encoder, upper


def encode_text(encoder: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The last layer's states, float [batch, tokens, width].

    Positions that are masked get the encoder's own padding token: RoBERTa's kind counts positions
    by it.
    """
    padding: Any = encoder.config.pad_token_id or 0
    ids = input_ids.masked_fill(attention_mask == 0, padding)
    return encoder(input_ids=ids, attention_mask=attention_mask)[0]


def depths(encoder: PreTrainedModel) -> dict[str, int]:
    """The number of layers above each part: by the beginnings of its parameters' names."""
    path, count = _LAYERS[encoder.config.model_type], len(_layers(encoder))
    layers = {f"{path}.{number}.": count - 1 - number for number in range(count)}
    return {"": 0, "embeddings.": count} | layers


class _States(nn.Module):
    """In the place of the embeddings: returns the states that the lower layers computed."""

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **ignored: Any) -> Tensor:
        # DistilBERT's embeddings get both by position.
        return inputs_embeds


def _layers(encoder: PreTrainedModel) -> nn.ModuleList:
    path = _LAYERS[encoder.config.model_type]
    return cast(nn.ModuleList, encoder.get_submodule(path))


def _set_layers(encoder: PreTrainedModel, layers: nn.Module) -> None:
    parent, name = _LAYERS[encoder.config.model_type].rsplit(".", 1)
    setattr(encoder.get_submodule(parent), name, layers)

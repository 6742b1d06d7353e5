"""Any text encoder beside any image encoder, below a small head.

Lower parts of both can be frozen: their outputs are computed once for every pair, and the upper
parts are trained with the head. On a GPU, all of it is trained.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmsent.errors import InputError
from mmsent_training.batches import StateBatches
from mmsent_training.models import compact
from mmsent_training.models.compact import embed_texts
from mmsent_training.models.dual_network import DualModel
from mmsent_training.models.embeddings import module_sha256
from mmsent_training.models.image_encoders import (
    block_count,
    load_image_encoder,
    make_image_encoder,
    read_encoder,
)
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.pretraining import pretrain
from mmsent_training.models.recipe import Ids, Inputs, Prepared, Task
from mmsent_training.models.text_encoders import (
    layer_count,
    load_text_encoder,
    make_text_encoder,
    pools_first,
    read_config,
    read_tokenizer,
)
from mmsent_training.models.views import cached_views
from mmsent_training.settings import Device, Preset, Settings
from mmsent_training.weights.encoders import Encoders, find_encoders

ALL = "all"


def find_weights(sources: Mapping[str, str]) -> Encoders:
    """Both encoders, from folders, the hub's cache or the hub."""
    if lacking := [name for name in ("text_encoder", "image_encoder") if name not in sources]:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise InputError(f"--model dual requires {flags}, each with a name on the hub or a folder")
    return find_encoders(sources["text_encoder"], sources["image_encoder"])


def default_settings(device: Device, preset: Preset) -> Settings:
    """A GPU trains all of it; a CPU the upper half of the text encoder, as compact does."""
    if preset == "reference":
        raise InputError("--preset reference: the task's report has no dual model")
    settings = replace(compact.default_settings(device, preset), model="dual")
    if device != "cuda":
        return settings
    return replace(
        settings,
        options={"train_text_layers": ALL, "train_image_blocks": ALL},
        batch_size=32,
        gradient_accumulation_steps=1,
        layer_decay=0.9,
        augment=True,
    )


def read_inputs(task: Task) -> Inputs:
    """The text encoder's tokenizer and the image encoder's preprocessing."""
    folder = _weights(task).text.folder
    tokenizer = read_tokenizer(folder, read_config(folder), task.settings.max_length)
    return Inputs(tokenizer, read_encoder(_weights(task).image)[1])


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A DualModel with both encoders' weights."""
    folder, options = _weights(task).text.folder, task.settings.options
    text_config = read_config(folder)
    image_config, _, mean, std = read_encoder(_weights(task).image)
    text = load_text_encoder(folder, text_config)
    image = load_image_encoder(_weights(task).image, image_config)
    layers, blocks = layer_count(text), block_count(image)
    description: dict[str, Any] = {
        "text": text_config,
        "image": image_config,
        "mean": mean,
        "std": std,
        "text_layers": _count(options.get("train_text_layers", layers // 2), layers, "text-layers"),
        "image_blocks": _count(options.get("train_image_blocks", 0), blocks, "image-blocks"),
        "first_token": bool(options.get("first_token", pools_first(folder))),
        "labels": len(task.examples.label_names),
        "modality": task.settings.modality,
    }
    parts = {key: value for key, value in description.items() if key not in ("text", "image")}
    return description, DualModel(text, image, **parts)


def build(text: dict[str, Any], image: dict[str, Any], **parts: Any) -> nn.Module:
    """A DualModel of two encoders' configurations, with random weights; ``parts``: see there."""
    return DualModel(make_text_encoder(text), make_image_encoder(image), **parts)


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """The head, on the outputs of the frozen parts; or the whole model, on pixels."""
    settings, missing = task.settings, missing_pair(inputs)
    if settings.options.get("gradient_checkpointing"):
        model.checkpoint_gradients()
    if settings.options.get("pretraining_texts"):
        pretrain_text(model, task, inputs)
    depths, train, validation = model.head.depths(), [*task.train], [*task.validation]
    # Frozen parts run in every step, too: an augmented image is another one each time.
    whole = model.head.takes_inputs or settings.augment
    standardizes = model.head.standardizes and not task.origin
    if standardizes or not whole:
        views = embed_images(model, task, inputs, ids)
        if standardizes:
            model.head.set_statistics(views[train])
    if whole:
        depths = {f"head.{name}": depth for name, depth in depths.items()}
        batches = pixel_batches(task, inputs, ids)
        return Prepared(model, *batches, missing, tuple(depths), depths=depths)
    states = embed_texts(model, ids)
    return Prepared(
        model.head,
        StateBatches([states[index] for index in train], views[train]),
        # Mirror images are only for training.
        StateBatches([states[index] for index in validation], views[validation, 0]),
        embed_missing(model, *missing),
        tuple(depths),
        depths=depths,
    )


def pretrain_text(model: nn.Module, task: Task, inputs: Inputs) -> None:
    """Train the text encoder's upper layers on rated texts first, which are English.

    Raises InputError if none are trained, or they have learned from pairs already.
    """
    option, settings = "--pretraining-texts", task.settings
    if origin := task.origin:
        raise InputError(
            f"--from {origin.name}: leave out {option}: the texts come before the pairs"
        )
    if settings.modality == "image" or model.head.text is None:
        raise InputError(f"{option}: no text layers are trained; see --train-text-layers")
    known = f"{_weights(task).text.sha256} {model.head.depths()} {model.head.first_token}"
    layers = model.head.text
    pretrain(model, layers, inputs.tokenizer, weights=known, precision=settings.precision)


def embed_images(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Tensor:
    """What the frozen part makes of every image and its mirror image: float32 [pairs, 2, ...].

    They are cached: see cached_embeddings. Zeros if the model does not use images.
    """
    if model.modality == "text":
        return torch.zeros(len(ids), 2, 1)
    key = {
        "views": "image and mirror image",
        "weights": module_sha256(model.image),
        "model": str(model.image),
        "scale": [model.mean.flatten().tolist(), model.std.flatten().tolist()],
    }
    features = cached_views(model, task, inputs, ids, key)
    _, image = embed_missing(model, *missing_pair(inputs))
    return features.view(len(ids), *image.shape)


@torch.no_grad()
def embed_missing(model: nn.Module, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """What the frozen parts make of the stand-ins for a missing text and image, as above.

    ``text``: ids, int64 [tokens]; ``image``: uint8 [height, width, 3]. What the model does not
    use is returned as it is.
    """
    model.eval()
    device = next(model.parameters()).device
    if model.modality != "image":
        text = text.to(device)[None]
        text = model.embed_text(text, torch.ones_like(text))[0]
    if model.modality != "text":
        image = model.embed_image(image.to(device)[None]).repeat_interleave(2, 0)
    return text, image


def _weights(task: Task) -> Encoders:
    assert isinstance(task.weights, Encoders)
    return task.weights


def _count(asked: Any, available: int, name: str) -> int | None:
    """The number of layers to train, or None for all of them. Raises InputError for too many."""
    if asked == ALL:
        return None
    if asked > available:
        raise InputError(f"--train-{name} {asked}: the encoder has {available}; or say all")
    return int(asked)

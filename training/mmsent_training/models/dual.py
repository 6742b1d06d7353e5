"""Any text encoder and any image encoder, with a small head on top.

Lower parts of both can be frozen: their outputs are computed once for every pair, and the upper
parts are trained with the head. On a GPU, all of it is trained.
"""

import logging
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmsent.data.labels import are_sentiments
from mmsent.errors import InputError
from mmsent.files.progress import Progress
from mmsent.inputs.text import pad_ids
from mmsent_training.batches import StateBatches
from mmsent_training.devices import embedding_precision, training_precision
from mmsent_training.distributed import all_gather, name_part, rank, world_size
from mmsent_training.models.dual_network import DualModel
from mmsent_training.models.embeddings import BATCH_SIZE, module_sha256
from mmsent_training.models.image_encoders import (
    block_count,
    load_image_encoder,
    outline,
    read_encoder,
)
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.pretraining import add_changes, pretrain
from mmsent_training.models.recipe import Ids, Inputs, Prepared, Task
from mmsent_training.models.text_encoders import (
    load_text_encoder,
    make_config,
    pools_first,
    read_config,
    read_tokenizer,
)
from mmsent_training.models.views import cached_views
from mmsent_training.settings import Device, Preset, Settings
from mmsent_training.weights.encoders import Encoders, find_encoders

ALL = "all"

logger = logging.getLogger(__name__)


def find_weights(sources: Mapping[str, str]) -> Encoders:
    """Both encoders, from folders, the hub's cache or the hub."""
    if lacking := [name for name in ("text_encoder", "image_encoder") if name not in sources]:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise InputError(f"--model dual requires {flags}, each with a name on the hub or a folder")
    return find_encoders(sources["text_encoder"], sources["image_encoder"])


def default_settings(device: Device, preset: Preset) -> Settings:
    """A GPU trains all of it; a CPU the upper half of the text encoder, as compact does.

    The rated texts are English, and the text encoder's language is unknown.
    """
    settings = partly_frozen("dual", device, preset)
    options = settings.options | {"pretraining_texts": False}
    if device != "cuda":
        return replace(settings, options=options)
    whole: dict[str, Any] = {
        "train_text_layers": ALL,
        "train_image_blocks": ALL,
        "bag_of_tokens": False,
    }
    return replace(
        settings,
        options=options | whole,
        batch_size=32,
        gradient_accumulation_steps=1,
        layer_decay=0.9,
        augment=True,
    )


def partly_frozen(model: str, device: Device, preset: Preset) -> Settings:
    """The settings to train the upper half of the text encoder, found by cross-validation of
    compact: docs/experiments.md.
    """
    if preset == "reference":
        raise InputError(f"--preset reference: the task's report has no {model} model")
    gpu = device == "cuda"
    return Settings(
        model=model,
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
        options={"bag_of_tokens": True},
    )


def read_inputs(task: Task) -> Inputs:
    """The text encoder's tokenizer and the image encoder's preprocessing."""
    folder = _weights(task).text.folder
    tokenizer = read_tokenizer(folder, read_config(folder), task.settings.max_length)
    return Inputs(tokenizer, read_encoder(_weights(task).image)[1])


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A DualModel with both encoders' weights."""
    folder, options = _weights(task).text.folder, task.settings.options
    text = read_config(folder)
    image, _, mean, std = read_encoder(_weights(task).image)
    layers, blocks = make_config(text).num_hidden_layers, block_count(outline(image))
    description: dict[str, Any] = {
        "text": text,
        "image": image,
        "mean": mean,
        "std": std,
        "text_layers": _count(options.get("train_text_layers", layers // 2), layers, "text-layers"),
        "image_blocks": _count(options.get("train_image_blocks", 0), blocks, "image-blocks"),
        "first_token": bool(options.get("first_token", pools_first(folder))),
        "bag_of_tokens": bool(options.get("bag_of_tokens")),
        "labels": len(task.examples.label_names),
        "modality": task.settings.modality,
    }
    model = DualModel(**description)
    model.load_encoders(
        load_text_encoder(folder, text), load_image_encoder(_weights(task).image, image)
    )
    if (bag := model.head.bag) is not None:
        train = [*task.train]
        labels = torch.from_numpy(task.examples.labels[train])
        empty, _ = missing_pair(inputs)
        bag.fit([ids[index] for index in train], labels, ignored=empty.tolist())
    return description, model


build = DualModel


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """The head, on the outputs of the frozen parts; or the whole model, on pixels."""
    settings, missing = task.settings, missing_pair(inputs)
    if settings.options.get("gradient_checkpointing"):
        model.checkpoint_gradients()
    pretrain_text(model, task, inputs)
    depths, train, validation = model.head.depths(), [*task.train], [*task.validation]
    # Frozen parts run in every step, too: an augmented image is another one each time.
    whole = model.head.takes_inputs or settings.augment
    standardizes = model.head.standardizes
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


def uses_pretraining_texts(task: Task) -> bool:
    """Whether the text encoder is trained on rated English texts before the pairs.

    An option decides; without it, whether the labels are the three sentiments.
    """
    if task.settings.modality == "image":
        return False
    asked = task.settings.options.get("pretraining_texts")
    return are_sentiments(task.examples.label_names) if asked is None else bool(asked)


def pretrain_text(model: nn.Module, task: Task, inputs: Inputs) -> None:
    """Train the text encoder's upper layers on the rated texts, if `uses_pretraining_texts`.

    What that changes is known for compact's weights, which are then not trained.
    Raises InputError if that is asked for, but none are trained.
    """
    option, settings = "--pretraining-texts", task.settings
    asked = settings.options.get("pretraining_texts")
    if uses_pretraining_texts(task):
        if model.head.text is None:
            raise InputError(f"{option}: no text layers are trained; see --train-text-layers")
        layers, weights = model.head.text, _weights(task)
        if weights.layers:
            add_changes(layers)
            return
        known = f"{weights.text.sha256} {model.head.depths()} {model.head.first_token}"
        pretrain(model, layers, inputs.tokenizer, weights=known, precision=settings.precision)
    elif asked is None and settings.modality != "image":
        logger.info(
            "no pretraining: the rated texts are negative, neutral or positive, and the labels "
            "differ; --pretraining-texts uses them anyway"
        )


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


def embed_texts(model: nn.Module, ids: Ids) -> list[Tensor]:
    """What the frozen layers make of every text, for the head: float16 [tokens, width] each.

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
            embedded = model.text_states(*(torch.from_numpy(array).to(device) for array in inputs))
            for index, row in zip(batch, embedded.half().cpu()):
                states[index] = row[: len(ids[index])].clone()
            progress.update(len(batch))
    by_index = ChainMap(*all_gather(states))
    return [by_index[index] for index in range(len(ids))]


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
        text = model.text_states(text, torch.ones_like(text))[0]
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

"""The list of models. A recipe, which imports torch, is imported only when it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mmsent.clip_pin import REPOSITORY
from mmsent.errors import InputError
from mmsent_training.weights.checkpoint import WeightsUnavailable

if TYPE_CHECKING:
    from torch import nn

    from mmsent_training.models import clip, compact, dual, light
    from mmsent_training.models.recipe import Recipe, Weights
    from mmsent_training.settings import Device, Preset, Settings

    _recipes: tuple[Recipe, ...] = (clip, compact, light, dual)  # mypy checks them

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Option:
    """A command-line option of one model.

    A "flag" is --NAME/--no-NAME and goes to Settings.options; its default is in the default
    settings, or the recipe chooses it. A "layers" is --NAME N or --NAME all, and goes there, too. A
    "source" is --NAME VALUE, a name on a hub or a folder, and
    goes to find_weights.
    """

    name: str
    kind: Literal["flag", "layers", "source"]
    help: str


@dataclass(frozen=True)
class Model:
    """A model: the module of its recipe, and its options."""

    module: str
    options: tuple[Option, ...] = ()

    @property
    def recipe(self) -> Recipe:
        return cast("Recipe", import_module(self.module))


CLIP = Option(
    "clip",
    "source",
    f"The CLIP, Chinese-CLIP or SigLIP checkpoint: a name on the hub, or a folder.  "
    f"[default: {REPOSITORY}]",
)
FREEZE = Option(
    "freeze", "flag", "Train CLIP's head alone, or all of CLIP.  [default: --freeze on CPUs]"
)
TEXTS = Option(
    "pretraining_texts",
    "flag",
    "Train the text encoder of compact or dual on rated English texts first.  "
    "[default: compact's, where the labels are negative, neutral and positive]",
)
IMAGE_BLOCKS = Option(
    "train_image_blocks",
    "layers",
    "How many upper image layers, or stages of a convolutional network, of compact or dual are "
    "trained.  [default: 1 of compact's; none of dual's, all on a GPU]",
)
BAG = Option(
    "bag_of_tokens",
    "flag",
    "Add a linear model of the text's tokens to compact or dual, fitted apart.  "
    "[default: on; off for dual on a GPU]",
)

DUAL = (
    Option(
        "text_encoder",
        "source",
        "dual's text encoder (BERT, RoBERTa, MPNet, DistilBERT, XLM-R, CamemBERT): a name on the "
        "hub, or a folder.",
    ),
    Option(
        "image_encoder",
        "source",
        "dual's image encoder (timm's EfficientNet, ConvNeXt or ViT; transformers' ViT, DINOv2 or "
        "the image tower of CLIP or SigLIP): a name on the hub, or a folder.",
    ),
    Option(
        "train_text_layers",
        "layers",
        "How many of dual's upper text layers are trained.  [default: half; all on a GPU]",
    ),
    IMAGE_BLOCKS,
    Option(
        "first_token",
        "flag",
        "Pool dual's texts at their first token, or take the mean of all.  "
        "[default: as sentence-transformers' file in the folder says, or else the mean]",
    ),
    Option(
        "gradient_checkpointing",
        "flag",
        "Compute dual's activations twice, to save memory.  [default: once]",
    ),
    BAG,
    TEXTS,
)

MODELS: dict[str, Model] = {
    "clip": Model("mmsent_training.models.clip", (CLIP, FREEZE)),
    "compact": Model("mmsent_training.models.compact", (IMAGE_BLOCKS, BAG, TEXTS)),
    "light": Model("mmsent_training.models.light"),
    "dual": Model("mmsent_training.models.dual", DUAL),
}
"""All models, in the order in which "auto" prefers them; light, which is always there, ends it."""

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """The chosen model, its pretrained weights, their sources, and the reason for the choice."""

    model: str
    weights: Weights | None
    sources: dict[str, str]
    reason: str


def find_model(name: str) -> Model:
    """The model of that name. Raises InputError if there is none."""
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; a newer mmsent may know it")
    return MODELS[name]


def model_options() -> list[Option]:
    """The options of all models, each once."""
    return [*dict.fromkeys(option for model in MODELS.values() for option in model.options)]


def choose(asked: str, options: Mapping[str, Any]) -> Choice:
    """The model ``asked`` or, for "auto", the first one whose weights are available.

    ``options``: the given options of models. Only unavailable weights cause a fallback, which is
    logged. Raises WeightsUnavailable if the weights of the requested model are unavailable, and
    InputError if it does not have a given option.
    """
    names = [*MODELS] if asked == AUTO else [asked]
    missing: list[str] = []
    for name in names:
        sources = find_sources(name, options)
        if name == asked:
            check_options(names, options)
        try:
            weights = find_model(name).recipe.find_weights(sources)
            break
        except WeightsUnavailable as error:
            if name == names[-1]:
                raise
            missing.append(f"{name}: {error}")
    check_options(names[: len(missing) + 1], options)
    reason = f"Asked for with --model {asked}"
    if asked == AUTO:
        reason = f"The {name} model's weights are available"
    if missing:
        reason = "Fallback, since weights are not available. " + "\n".join(missing)
        why, *remedies = missing[0].splitlines()
        logger.warning("FALLBACK to the %s model: %s", name, why)
        logger.warning("%s", "; ".join([*remedies[:1], "run.json has the details"]))
    return Choice(name, weights, sources, reason)


def find_sources(name: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The sources of a model's weights among ``options``; a folder's name is absolute."""
    found = {}
    for option in find_model(name).options:
        if option.kind == "source" and (value := options.get(option.name)) is not None:
            folder = Path(value).expanduser()
            found[option.name] = str(folder.resolve()) if folder.is_dir() else str(value)
    return found


def default_settings(
    name: str, device: Device, *, preset: Preset = "default", **chosen: Any
) -> Settings:
    """The default settings of a model with the ``chosen`` values, except those that are None.

    They may include flags of the model; other models' flags are ignored. Raises InputError if a
    value is invalid.
    """
    model = find_model(name)
    settings = model.recipe.default_settings(device, preset)
    flags = [option.name for option in model.options if option.kind != "source"]
    options = settings.options | {key: chosen[key] for key in flags if chosen.get(key) is not None}
    try:
        return settings.override(chosen | {"options": options})
    except ValueError as error:
        raise InputError(f"a setting can't be used: {error}") from None


def build_model(description: Mapping[str, Any]) -> nn.Module:
    """The untrained model of a description such as {"name": "light", "vocabulary": 1000, …}.

    Raises InputError if no model has that name.
    """
    arguments = {key: value for key, value in description.items() if key != "name"}
    return find_model(description["name"]).recipe.build(**arguments)


def check_options(names: list[str], options: Mapping[str, Any]) -> None:
    """Raises InputError if a given option belongs to none of the models ``names``."""
    known = {option.name for name in names for option in find_model(name).options}
    for name, value in options.items():
        if value is not None and name not in known:
            flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            raise InputError(f"{flag}: the {names[-1]} model has no such option")

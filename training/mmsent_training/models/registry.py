"""Which models there are. A recipe, which brings torch, is imported when it is asked for."""

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

    from mmsent_training.models import clip, compact, light
    from mmsent_training.models.recipe import Recipe, Weights
    from mmsent_training.settings import Device, Preset, Settings

    _recipes: tuple[Recipe, ...] = (clip, compact, light)  # mypy holds them to the protocol

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Option:
    """An option of the command line that a model has for itself.

    A "flag" is --NAME/--no-NAME and goes into Settings.options; the default settings hold its
    default, or leave the choice to the recipe. A "source" is --NAME VALUE, a name on a hub or a
    folder, and goes to find_weights.
    """

    name: str
    kind: Literal["flag", "source"]
    help: str


@dataclass(frozen=True)
class Model:
    """Where a model's recipe is, and its own options."""

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
    "Train compact's text encoder on rated texts first.  "
    "[default: where the labels are negative, neutral and positive]",
)

MODELS: dict[str, Model] = {
    "clip": Model("mmsent_training.models.clip", (CLIP, FREEZE)),
    "compact": Model("mmsent_training.models.compact", (TEXTS,)),
    "light": Model("mmsent_training.models.light"),
}
"""All models, in the order in which "auto" prefers them."""

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """A model that was chosen, its pretrained weights, where they came from, and why it is this."""

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
    """The options of all models."""
    return [option for model in MODELS.values() for option in model.options]


def choose(asked: str, options: Mapping[str, Any]) -> Choice:
    """The model that was ``asked`` for or, for "auto", the first whose weights are available.

    ``options``: the models' own that were given. Only unavailable weights cause a fallback, and it
    is announced. Raises WeightsUnavailable if the weights of the model asked for are not
    available, and InputError if it has no such option.
    """
    names = [*MODELS] if asked == AUTO else [asked]
    missing: list[str] = []
    for name in names:
        sources = find_sources(name, options)
        if name == asked:
            _check_options(names, options)
        try:
            weights = find_model(name).recipe.find_weights(sources)
            break
        except WeightsUnavailable as error:
            if name == names[-1]:
                raise
            missing.append(f"{name}: {error}")
    _check_options(names[: len(missing) + 1], options)
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
    """The settings of a training of a model, but for what is ``chosen``; None is no choice.

    Its own flags may be among them; other models' are left out. Raises InputError if a value
    can't be used.
    """
    model = find_model(name)
    settings = model.recipe.default_settings(device, preset)
    flags = [option.name for option in model.options if option.kind == "flag"]
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


def _check_options(names: list[str], options: Mapping[str, Any]) -> None:
    """Raises InputError if a given option is none of any of the models ``names``."""
    known = {option.name for name in names for option in find_model(name).options}
    for name, value in options.items():
        if value is not None and name not in known:
            flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            raise InputError(f"{flag}: the {names[-1]} model has no such option")

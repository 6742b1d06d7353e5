"""A run from which another training starts: `mmsent train --from`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmsent.errors import InputError
from mmsent_training.digests import Digests
from mmsent_training.examples import Examples
from mmsent_training.models.recipe import Inputs, Origin, Weights
from mmsent_training.models.registry import Choice, build_model, default_settings, find_model
from mmsent_training.runs.run import CHECKPOINT, read_run
from mmsent_training.settings import Device, Settings
from mmsent_training.weights.checkpoint import file_sha256

EPOCHS = 1 / 3
"""The share of the model's default number of epochs for a training that starts from a run."""
FIXED = ("preset", "modality", "max_length")
"""The settings that are the run's, with its model."""
SOURCE = "from"
"""The name of the run among a training's sources of weights."""

logger = logging.getLogger(__name__)


def read_origin(folder: Path) -> Origin:
    """Read a finished run, to start another training from it.

    Raises InputError if ``folder`` is not a finished run, or is damaged.
    """
    run = read_run(folder)
    return Origin(
        name=str(folder),
        sha256=file_sha256(folder / CHECKPOINT, CHECKPOINT),
        description=run.record.model,
        labels=run.record.labels,
        inputs=Inputs(run.tokenizer, run.record.image),
        network=run.load_network(),
        digests=Digests.from_json(run.digests) if run.digests else None,
        settings=run.record.settings,
    )


def choose_origin(folder: Path) -> tuple[Choice, Settings]:
    """The model of the run in ``folder``, with its weights, and the run's settings.

    Raises InputError like `read_origin`.
    """
    origin = read_origin(folder)
    name, sources = origin.settings.model, {SOURCE: str(folder.resolve())}
    choice = Choice(name, origin, sources, f"Begins with the weights of {folder}")
    return choice, origin.settings


def find_weights(model: str, sources: Mapping[str, str]) -> Weights | None:
    """The initial weights of a training, from their ``sources``: a run, or pretrained ones.

    Raises InputError and WeightsUnavailable like `read_origin` and the model's recipe.
    """
    if SOURCE in sources:
        return read_origin(Path(sources[SOURCE]))
    return find_model(model).recipe.find_weights(sources)


def settings_from(choice: Choice, device: Device, chosen: Mapping[str, Any]) -> Settings:
    """The settings of a training that starts from a run, with the ``chosen`` values.

    By default it is shorter than one from scratch (docs/training.md). Settings of the network and
    its inputs are the run's. Raises InputError if a value is invalid.
    """
    assert isinstance(choice.weights, Origin)
    run = choice.weights.settings
    fixed: dict[str, Any] = {name: getattr(run, name) for name in FIXED}
    usual = default_settings(run.model, device, preset=run.preset)
    shorter = {"epochs": max(1, round(EPOCHS * usual.epochs))}
    own = {name: value for name, value in chosen.items() if value is not None}
    return default_settings(run.model, device, **(shorter | own | fixed))


def create_model(origin: Origin, labels: Sequence[str]) -> tuple[dict[str, Any], nn.Module]:
    """The arguments of its recipe's `build`, and the model with the weights of ``origin``.

    If ``labels`` or their order differ, the head is new: the tensors whose shape depends on the
    number of labels.
    """
    description = {**origin.description, "labels": len(labels)}
    model, trained = build_model(description), origin.network.state_dict()
    if tuple(labels) != origin.labels:
        own, head = model.state_dict(), _head(description)
        fits = {name for name, tensor in own.items() if tensor.shape == trained[name].shape}
        trained = own | {name: trained[name] for name in fits - head}
        logger.info(f"the labels are not those of {origin.name}: the model has a new head")
    model.load_state_dict(trained)
    del description["name"]
    return description, model


def _head(description: Mapping[str, Any]) -> set[str]:
    """The names of the tensors whose shape depends on the number of labels."""
    with torch.device("meta"):
        two, three = (build_model({**description, "labels": n}).state_dict() for n in (2, 3))
    return {name for name, tensor in two.items() if tensor.shape != three[name].shape}


def divide_from(
    origin: Origin,
    examples: Examples,
    train: Sequence[int],
    validation: Sequence[int],
    *,
    drawn: bool,
) -> tuple[list[int], list[int], int | None]:
    """The rows of ``examples`` to train on and to validate on, in a training from ``origin``.

    The run's validation pairs are not trained on. ``drawn``: whether ``validation`` was drawn at
    random. Then only pairs that the run has not seen and its validation pairs are validated on:
    scores on its training pairs would be too optimistic. Also returns the number of the run's
    validation pairs, or None if it has no digests.
    Raises InputError if nothing is left to train or to validate on.
    """
    if origin.digests is None:
        logger.warning(
            f"{origin.name} has no digests: it can't be checked which of the pairs it was trained "
            "on, and scores on those promise too much"
        )
        return [*train], [*validation], None
    trained = origin.digests.compare(examples, "training")
    held_out = {
        row for row, same in enumerate(origin.digests.compare(examples, "validation"))
        if same == "pair"
    }  # fmt: skip
    if drawn:
        kept = held_out | {row for row in validation if trained[row] is None}
        rows = (*train, *validation)
        train, validation = [row for row in rows if row not in kept], sorted(kept)
        logger.info(f"validating on {len(held_out)} pairs that {origin.name} validated on, too")
    else:
        held_out &= {*train}
        train = [row for row in train if row not in held_out]
        if held_out:
            logger.info(f"{len(held_out)} pairs are left out: {origin.name} validated on them")
        if known := sum(trained[row] is not None for row in validation):
            logger.warning(
                f"{origin.name} was trained on {known} of the {len(validation)} pairs to validate "
                "on, or on their image or text: scores on them promise too much"
            )
    if origin.digests.every > 1:
        logger.warning(f"only one in {origin.digests.every} pairs of {origin.name} is known")
    if not train or not validation:
        what = "train" if not train else "validate"
        raise InputError(
            f"no pairs are left to {what} on: {origin.name} has seen all others; name the pairs to "
            "validate on with --validation"
        )
    return [*train], [*validation], len(held_out)

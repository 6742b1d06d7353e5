"""Options that the commands of training share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mmsent.help import option
from mmsent.options import FiniteRange
from mmsent_training.models import registry
from mmsent_training.runs.latest import RunFolder
from mmsent_training.tracking import LIBRARIES

Command = Callable[..., None]
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
COUNT = click.IntRange(1)
THE_MODELS = "[default: the model's and device's]"


class Layers(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.2
    """A number of layers, or "all"."""

    name = "layers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == "all" or isinstance(value, int):
            return value
        if not str(value).isdecimal():
            self.fail(f"{value!r} is neither a number of layers nor all", param, ctx)
        return int(value)


def choice(
    name: str, choices: Sequence[str], says: str, *, group: str
) -> Callable[[Command], Command]:
    """An option that takes one of ``choices``, by default the first."""
    kind = click.Choice(choices)
    return option(name, type=kind, default=choices[0], show_default=True, help=says, group=group)


MODALITY = choice(
    "--modality",
    ["both", "text", "image"],
    "The parts of a pair that the model sees.",
    group="Model",
)
OUTPUT = option(
    "--output",
    type=NEW_FOLDER,
    help="The run's folder.  [default: runs/MODEL-YYYYmmdd-HHMMSS]",
    group="Output",
)
RESUME = option(
    "--resume",
    metavar="RUN",
    type=RunFolder(),
    help="Resume an interrupted run after its last finished epoch, with its settings. If files "
    "have moved, name them with --data, --validation, --images or the weights' option; no "
    "other option is allowed.",
    group="Output",
)
LOG_TO = option(
    "--log-to",
    type=click.Choice(LIBRARIES),
    multiple=True,
    help="Also log every epoch with this library, to files in the run's folder; nothing is sent "
    "anywhere. Repeat it for several. --resume continues the log.",
    group="Output",
)


def _assignments(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    from mmsent_training.settings import parse_assignments

    return parse_assignments(texts)


SET = option(
    "--set",
    metavar="FIELD=VALUE",
    multiple=True,
    callback=_assignments,
    help="Set any field of the settings, which run.json lists, such as weight_decay=0.01. Repeat "
    "it for several.",
    group="Training",
)
HOW = (
    choice(
        "--model",
        [registry.AUTO, *registry.MODELS],
        "The model to train; auto uses the first of the others whose weights are available.",
        group="Model",
    ),
    choice(
        "--preset",
        ["default", "reference"],
        "reference: the settings of the task's report.",
        group="Model",
    ),
    choice(
        "--device",
        ["auto", "cpu", "cuda"],
        "The device to train on; auto uses a GPU if PyTorch finds one.",
        group="Training",
    ),
    option(
        "--epochs",
        metavar="N",
        type=COUNT,
        help=f"Passes over the training pairs.  {THE_MODELS}",
        group="Training",
    ),
    option(
        "--batch-size",
        metavar="N",
        type=COUNT,
        help=f"Pairs per batch.  {THE_MODELS}",
        group="Training",
    ),
    option(
        "--gradient-accumulation-steps",
        metavar="N",
        type=COUNT,
        help=f"Batches per optimizer step, shared by all processes.  {THE_MODELS}",
        group="Training",
    ),
    option(
        "--learning-rate",
        metavar="RATE",
        type=FiniteRange(0, min_open=True),
        help="The learning rate of parameters that are not pretrained.  [default: the model's]",
        group="Training",
    ),
    option(
        "--seed",
        metavar="N",
        help="The seed of all random choices.",
        default=42,
        show_default=True,
        type=click.IntRange(0, 2**32 - 1),
        group="Training",
    ),
    option(
        "--digests/--no-digests",
        default=None,
        help="Store short digests of all pairs in the run and the bundle. With them, "
        "`mmsent evaluate` recognises what the model was trained on, and so can anybody who has "
        "the same text or image.  [default: store them]",
        group="Output",
    ),
)


def training_options(command: Command) -> Command:
    """The options about how a model is trained, as arguments of `settings_of`."""
    options: list[Callable[[Command], Command]] = [*HOW]
    for own in registry.model_options():
        name = own.name.replace("_", "-")
        if own.kind == "flag":
            flags = f"--{name}/--no-{name}"
            options.append(option(flags, default=None, help=own.help, group="Model"))
        elif own.kind == "layers":
            layers = {"metavar": "N|all", "type": Layers(), "help": own.help}
            options.append(option(f"--{name}", group="Model", **layers))
        else:
            options.append(option(f"--{name}", metavar="NAME|DIR", help=own.help, group="Model"))
    for add in reversed(options):
        command = add(command)
    return command

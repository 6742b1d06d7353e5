"""Options shared by several commands: the bundle, the dataset, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsent.help import option

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading

Command = Callable[..., Any]


class FiniteRange(click.FloatRange):
    """A range without nan, which click finds neither too small nor too large, and without inf."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
DATASET = click.Path(exists=True, path_type=Path)

BUNDLE = option(
    "--model",
    default="model.onnx",
    show_default=True,
    type=FILE,
    help="The bundle: a file that `mmsent-export onnx` wrote.",
    group="Model",
)
DEVICE = option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto uses CUDA if ONNX Runtime has it and it works, otherwise the CPU.",
    group="Model",
)
DATA = option(
    "--data",
    default=".",
    type=DATASET,
    help="The dataset, a folder or a list: see docs/data.md.  [default: this folder]",
    group="Data",
)


def _labels(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    from mmsent.data.labels import parse_labels

    return None if value is None else parse_labels(value)


VALIDATION = option(
    "--validation",
    type=DATASET,
    help="The dataset to validate on.  [default: the validation split of --data; without one, "
    "a tenth of its pairs]",
    group="Data",
)
LABELS = option(
    "--labels",
    metavar="A,B,...",
    callback=_labels,
    help="The labels, in order; any other label is an error.  [default: those of the "
    "training pairs, sorted]",
    group="Data",
)
_READING = (
    option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="The list's columns for guid, text, image, label or split, if mmsent does not know "
        "their names: text=body,label=mood.",
        group="Data",
    ),
    option(
        "--images",
        type=FOLDER,
        help="The folder that image paths are relative to.  [default: the list's folder]",
        group="Data",
    ),
    option(
        "--allow-missing",
        is_flag=True,
        help="Accept pairs whose text or image file is missing, instead of failing.",
        group="Data",
    ),
)


def reading_options(command: Command) -> Command:
    """Add the options for reading a dataset; ``command`` gets them as ``reading``."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        reading = _reading(**{name: options.pop(name) for name in _NAMES})
        return command(*arguments, reading=reading, **options)

    for add in reversed(_READING):
        wrapped = add(wrapped)
    return wrapped


_NAMES = ("columns", "images", "allow_missing")


def _reading(columns: str | None, images: Path | None, allow_missing: bool) -> Reading:
    from mmsent.data.columns import parse_columns
    from mmsent.data.dataset import Reading

    named = parse_columns(columns) if columns else {}
    return Reading(columns=named, images=images, allow_missing=allow_missing)

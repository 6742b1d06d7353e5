"""Options that several commands share: which dataset, and how it is to be read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading

Command = Callable[..., Any]

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
DATASET = click.Path(exists=True, path_type=Path)

DATA = click.option(
    "--data",
    default=".",
    type=DATASET,
    help="The dataset: a folder or a list, see docs/data.md.  [default: here]",
)


def _labels(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    from mmsent.data.labels import parse_labels

    return None if value is None else parse_labels(value)


VALIDATION = click.option(
    "--validation",
    type=DATASET,
    help="A dataset with the pairs to validate on.  [default: the split validation of --data or, "
    "where it has none, a tenth of its pairs]",
)
LABELS = click.option(
    "--labels",
    metavar="A,B,...",
    callback=_labels,
    help="The labels and their order; any other label is an error.  [default: those of the "
    "training pairs, sorted]",
)
_READING = (
    click.option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="Which column of the list is the guid, text, image, label or split, where their names "
        "don't say: text=tweet,label=emotion.",
    ),
    click.option(
        "--images",
        type=FOLDER,
        help="What paths of images are relative to.  [default: the list's folder]",
    ),
    click.option(
        "--allow-missing",
        is_flag=True,
        help="A pair whose text or image is in no file lacks it; without this it is an error.",
    ),
)


def reading_options(command: Command) -> Command:
    """Add the options that say how a dataset is read; ``command`` gets them as ``reading``."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        reading = _reading(**{name: options.pop(name) for name in _NAMES})
        return command(*arguments, reading=reading, **options)

    for option in reversed(_READING):
        wrapped = option(wrapped)
    return wrapped


_NAMES = ("columns", "images", "allow_missing")


def _reading(columns: str | None, images: Path | None, allow_missing: bool) -> Reading:
    from mmsent.data.columns import parse_columns
    from mmsent.data.dataset import Reading

    named = parse_columns(columns) if columns else {}
    return Reading(columns=named, images=images, allow_missing=allow_missing)

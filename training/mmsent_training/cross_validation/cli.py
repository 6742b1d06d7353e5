"""The command `mmsent cross-validate`. Heavy modules are imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsent.help import HelpCommand, given, option
from mmsent.options import DATA, FOLDER, LABELS, VALIDATION, reading_options
from mmsent_training.cli import (
    assign,
    check_alone,
    choose_again,
    enough_memory,
    prepare_process,
    read_data,
    settings_of,
)
from mmsent_training.options import COUNT, MODALITY, NEW_FOLDER, SET, training_options

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent_training.cross_validation.training import Plan


@click.command(
    "cross-validate",
    cls=HelpCommand,
    examples="mmsent cross-validate --data posts.csv --model light\n"
    "mmsent cross-validate --model light --set ema_decay=0 --output DIR\n"
    "mmsent cross-validate --resume DIR",
)
@DATA
@VALIDATION
@LABELS
@reading_options
@training_options
@MODALITY
@SET
@option(
    "--folds",
    metavar="N",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="How many parts to divide the pairs into. Each part is predicted by a model that was "
    "trained on the others.",
    group="Training",
)
@option(
    "--repeats",
    metavar="N",
    type=COUNT,
    default=2,
    show_default=True,
    help="How often to cross-validate, each time with other folds and another seed.",
    group="Training",
)
@option(
    "--output",
    type=NEW_FOLDER,
    help="The folder of the results.  [default: runs/MODEL-folds-YYYYmmdd-HHMMSS]",
    group="Output",
)
@option(
    "--resume",
    metavar="DIR",
    type=FOLDER,
    help="Train the missing folds of an interrupted cross-validation, with its settings. If files "
    "have moved, name them with --data, --validation, --images or the weights' option; no other "
    "option is allowed.",
    group="Output",
)
@option("--json", "as_json", is_flag=True, help="Print the figures as JSON.", group="Output")
@click.pass_context
def cross_validate(
    context: click.Context,
    /,
    data: Path,
    validation: Path | None,
    labels: tuple[str, ...] | None,
    reading: Reading,
    folds: int,
    repeats: int,
    output: Path | None,
    resume: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train and score a model by cross-validation.

    It shows how good a model and its settings are, and how much that varies. The folds do not
    include the pairs that `mmsent train` validates on. Pairs with the same image or text are in
    one fold. The command writes the scores of each fold, and the predictions for every
    pair by a model that was not trained on it.
    """
    prepare_process()
    from mmsent.data.training import TrainingSource
    from mmsent_training.cross_validation import record
    from mmsent_training.cross_validation.training import cross_validate as train_folds
    from mmsent_training.cross_validation.training import make_plan
    from mmsent_training.runs.run import check_run_folder, new_folder

    if resume is None:
        if output is not None:
            check_run_folder(output)
        assign(context, options)
        read = read_data(data, options, validation=validation, labels=labels, reading=reading)
        settings, chosen = settings_of(**options)
        source = TrainingSource(data, validation, labels, reading)
        numbers = {"folds": folds, "repeats": repeats}
        plan = make_plan(source, settings, chosen, data=read["found"], **numbers)
        folder = new_folder(f"{settings.model}-folds", output)
    else:
        folder = resume
        moved = data if given(context, "data") else None, validation, reading.images
        plan = _resume(context, folder, moved, options)
    with enough_memory(plan.validation.start.settings):
        result = train_folds(folder, plan)
    click.echo(result.to_json() if as_json else record.describe(result))
    click.echo(f"wrote {folder}", err=True)


def _resume(
    context: click.Context,
    folder: Path,
    moved: tuple[Path | None, Path | None, Path | None],
    options: dict[str, Any],
) -> Plan:
    """The rest of the cross-validation in ``folder``; ``moved``: where its files are now."""
    from mmsent_training.cross_validation import record
    from mmsent_training.cross_validation.training import make_plan, resume_plan

    check_alone(context)
    before = record.read(folder)
    start, folds, repeats = before.start, before.folds, before.repeats
    data, choice = start.data.move(*moved), choose_again(start, options)
    now = make_plan(data, start.settings, choice, folds=folds, repeats=repeats)
    return resume_plan(folder, before, now)

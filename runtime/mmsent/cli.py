"""The commands `mmsent` and `mmsent-infer`.

Heavy modules are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsent.commands import Commands
from mmsent.errors import InputError, MmsentError
from mmsent.files.console import console, harmless, prepare_streams, to_json
from mmsent.files.shortage import raise_shortage
from mmsent.help import option, version
from mmsent.options import (
    BUNDLE,
    DATA,
    DATASET,
    FILE,
    LABELS,
    VALIDATION,
    FiniteRange,
    reading_options,
)
from mmsent.predict.cli import infer, predict
from mmsent.serve.cli import serve

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent.doctor.system import System


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@version
@click.pass_context
def cli(context: click.Context) -> None:
    """Train classifiers for posts of a text and an image, and predict with them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(infer)
cli.add_command(predict)


@cli.command(
    "check-data",
    examples="mmsent check-data --data posts.csv\nmmsent check-data --data DIR --model model.onnx",
)
@click.argument("folder", metavar="[DIR]", required=False, type=DATASET)
@DATA
@VALIDATION
@LABELS
@option(
    "--modality",
    type=click.Choice(["both", "text", "image"]),
    default="both",
    show_default=True,
    help="What the model will see of a pair; the rest is not checked.",
    group="Data",
)
@reading_options
@option(
    "--model",
    type=FILE,
    help="Also check the data for this bundle: how much of the texts it knows, what it requires.",
    group="Model",
)
@option(
    "--all",
    "show_all",
    is_flag=True,
    help="Print every problem instead of a summary by kind.",
    group="Output",
)
@option("--json", "as_json", is_flag=True, help="Print everything as JSON.", group="Output")
def check_data(
    folder: Path | None,
    data: Path,
    validation: Path | None,
    labels: tuple[str, ...] | None,
    modality: str,
    reading: Reading,
    model: Path | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Report what is in a dataset and what is wrong with it.

    The exit code is 2 if `mmsent train` with the same options would refuse the data; without
    labels, if `mmsent-infer` would. The command changes nothing. DIR is the same as --data.
    """
    from mmsent.data.check import Reader, check_dataset
    from mmsent.data.check_report import describe
    from mmsent.data.pair import PARTS

    if folder is not None and data != Path():
        raise InputError(f"name one dataset: {folder}, or --data {data}")
    reader = None
    if model is not None:
        from mmsent.bundle.session import open_bundle

        bundle = open_bundle(model, threads=1)
        reader = Reader(bundle.tokenizer, bundle.info.optional)
    check = check_dataset(
        folder or data,
        reading,
        validation=validation,
        labels=labels,
        parts=[part for part in PARTS if modality in (part, "both")],
        reader=reader,
    )
    as_text = to_json(asdict(check)) if as_json else None
    click.echo(as_text or describe(check, every=show_all))
    if check.errors:
        raise click.exceptions.Exit(2)


@cli.command("pack", examples="mmsent pack DIR pairs.parquet")
@click.argument("source", metavar="SRC", type=DATASET)
@click.argument("output", metavar="FILE.parquet", type=FILE)
@reading_options
def pack_command(source: Path, output: Path, reading: Reading) -> None:
    """Write a dataset as one Parquet file.

    SRC is a list or a folder: see docs/data.md. The file has the columns guid, text, image and tag
    in the layout of Hugging Face's datasets, and every command accepts it. Images keep their bytes.
    """
    from mmsent.data.dataset import open_dataset
    from mmsent.data.pack import pack
    from mmsent.files.progress import counted
    from mmsent.predict.infer import check_output_file

    if output.suffix.lower() != ".parquet":
        raise InputError(f"{output}: the name must end in .parquet")
    check_output_file(output, source)
    count = pack(open_dataset(source, reading), output)
    click.echo(f"wrote {counted(count, 'pairs')} to {output}", err=True)


@cli.command(
    "sample-data",
    examples="mmsent sample-data dataset\nmmsent sample-data dataset --pairs 100 --labels cat,dog",
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@option(
    "--pairs",
    metavar="N",
    default=400,
    show_default=True,
    type=click.IntRange(min=20),
    help="Labelled pairs.",
    group="Data",
)
@option(
    "--seed",
    metavar="N",
    default=0,
    show_default=True,
    help="The same seed gives the same dataset.",
    group="Data",
)
@option(
    "--labels",
    default="negative,neutral,positive",
    show_default=True,
    help="The labels; the words of others than the default are invented.",
    group="Data",
)
def sample_data(folder: Path, pairs: int, seed: int, labels: str) -> None:
    """Write a synthetic dataset of random words and shapes.

    DIR has the layout of the task's folder: see docs/data.md.
    """
    from mmsent.data.sample import write_sample_data

    labelled, unlabelled = write_sample_data(
        folder, pairs=pairs, seed=seed, labels=labels.split(",")
    )
    click.echo(
        f"wrote {labelled} labelled and {unlabelled} unlabelled pairs to {folder} "
        "(synthetic: random words and shapes)",
        err=True,
    )


@cli.command(examples="mmsent doctor\nmmsent doctor --require gpu --model model.onnx")
@option("--json", "as_json", is_flag=True, help="Print everything as JSON.", group="Output")
@option(
    "--require",
    type=click.Choice(["gpu"]),
    help="Fail if there is no GPU to train on.",
    group="Checks",
)
@option("--model", type=FILE, help="Also check this bundle.", group="Checks")
@option(
    "--online",
    is_flag=True,
    help="Check whether the hub with CLIP's weights answers.",
    group="Checks",
)
@option(
    "--verbose",
    is_flag=True,
    help="Add the raw facts, for a bug report; names, home folders and secrets are removed.",
    group="Output",
)
@option(
    "--time-limit",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    type=FiniteRange(0, min_open=True),
    help="How long a library or a driver may take to answer.",
    group="Checks",
)
@click.pass_obj
def doctor(
    system: System | None,
    as_json: bool,
    require: str | None,
    model: Path | None,
    online: bool,
    verbose: bool,
    time_limit: float,
) -> None:
    """Report what is wrong with this machine, and the fix.

    The exit code is 1 if something fails that the installed parts need. docs/doctor.md lists every
    finding. The command changes nothing.
    """
    from contextlib import closing

    from mmsent.doctor import report
    from mmsent.doctor.diagnosis import diagnose
    from mmsent.doctor.system import System

    diagnosis = diagnose(
        model=model,
        online=online,
        gpu_required=require == "gpu",
        limit=time_limit,
        system=system or System(),
    )
    groups = []
    with closing(diagnosis):
        for group in diagnosis:
            groups.append(group)
            if not as_json:
                click.echo("\n".join(report.lines(group, verbose=verbose)))
    content = report.as_json(groups, verbose=verbose)
    click.echo(to_json(content) if as_json else f"\n{content['summary']}")
    if not content["ok"]:
        raise click.exceptions.Exit(1)


@cli.command(examples="mmsent card\nmmsent card --model small.onnx --output small.md")
@BUNDLE
@option(
    "--output",
    default="card.md",
    show_default=True,
    type=FILE,
    help="The card to write. An existing file is not replaced: it may be filled in.",
    group="Output",
)
def card(model: Path, output: Path) -> None:
    """Write a model card, for people who get the bundle.

    The card describes data, scores, calibration and limits, in the format of the Hugging Face hub.
    Lines with FILL IN are for what the bundle can't know, such as the licence. See docs/card.md.
    """
    from mmsent.bundle.session import open_bundle
    from mmsent.card import TO_FILL_IN, write_card
    from mmsent.files.atomic import atomic_path
    from mmsent.files.destination import find_file

    if find_file(output).exists():
        raise InputError(f"{output} exists; name another --output, or remove it")
    bundle = open_bundle(model, threads=1)
    text = write_card(bundle.info, bundle.tokenizer)
    with atomic_path(output) as part:
        part.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}\nNext: complete the lines with {TO_FILL_IN}", err=True)


cli.add_command(serve)


def run(command: click.Command) -> None:
    """Run a command; bad input and failed work end with one message."""
    prepare_streams()
    try:
        with console(), warnings.catch_warnings():
            # Pillow warns about odd images without naming them; serious problems become
            # errors.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            try:
                command()
            except Exception as error:
                raise_shortage(error)
                raise
    except MmsentError as error:
        click.echo(f"Error: {harmless(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        reason = f"{error.filename or 'input or output'}: {error.strerror}"
        click.echo(f"Error: {harmless(reason)}", err=True)
        sys.exit(1)


def main() -> None:
    """The command `mmsent`."""
    run(cli)


def infer_main() -> None:
    """The command `mmsent-infer`."""
    run(infer)

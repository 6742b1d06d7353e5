"""The commands `mmsent` and `mmsent-infer`.

Heavy modules are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsent import __version__
from mmsent.errors import InputError, MmsentError
from mmsent.files.console import console, prepare_streams, to_json
from mmsent.files.shortage import raise_shortage
from mmsent.options import DATA, DATASET, FILE, FOLDER, LABELS, VALIDATION, reading_options

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent.doctor.system import System

COMMAND_GROUP = "mmsent.commands"
"""The entry-point group through which other distributions add their subcommands."""

ELSEWHERE = {
    "train": "mmsent-training",
    "ablate": "mmsent-training",
    "evaluate": "mmsent-training",
    "download-clip": "mmsent-training",
    "export": "mmsent-export",
}
"""Subcommands that other distributions bring."""


class Commands(click.Group):
    """This distribution's subcommands and those of the installed others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        installed = {point.name for point in entry_points(group=COMMAND_GROUP)}
        return sorted(installed | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if command := super().get_command(ctx, name):
            return command
        for point in entry_points(group=COMMAND_GROUP, name=name):
            loaded: click.Command = point.load()
            return loaded
        if name in ELSEWHERE:
            raise click.UsageError(
                f"`mmsent {name}` is part of {ELSEWHERE[name]}, which is not installed here; "
                f"install it with: pip install {ELSEWHERE[name]}"
            )
        return None


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="mmsent")
@click.pass_context
def cli(context: click.Context) -> None:
    """Learn the sentiment of an image with its text, and predict it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("list_path", metavar="LIST", type=click.Path(path_type=Path))
@click.option("--model", default="model.onnx", show_default=True, type=FILE, help="The bundle.")
@click.option(
    "--data", "folder", type=FOLDER, help="The dataset folder.  [default: the folder of LIST]"
)
@reading_options
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="Which part of a dataset with splits.  [default: test, else all]",
)
@click.option(
    "--output",
    default="submission.csv",
    show_default=True,
    type=FILE,
    help="Where the predictions go: CSV, JSON lines (.jsonl) or Parquet (.parquet) by its name; - "
    "for stdout.",
)
@click.option("--probabilities", is_flag=True, help="Write the probability of each label, too.")
@click.option(
    "--on-error",
    default="fail",
    show_default=True,
    type=click.Choice(["fail", "skip"]),
    help="At bad rows: predict nothing, or list them in OUTPUT.errors.csv and predict the others.",
)
@click.option("--resume", is_flag=True, help="Continue where an interrupted inference stopped.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA where ONNX Runtime has it and it works, else the CPU.",
)
@click.option(
    "--threads",
    "workers",
    type=click.IntRange(min=1),
    help="Batches that are worked on at once, each on one core.  [default: all cores]",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Pairs in a batch.  [default: 8]")
def infer(
    list_path: Path,
    folder: Path | None,
    reading: Reading,
    split: str | None,
    model: Path,
    output: Path,
    on_error: str,
    **options: Any,
) -> None:
    """Predict every row of LIST with a bundle.

    LIST is a CSV file with the column guid, or - for one from stdin; the pair of a guid is
    data/GUID.txt and data/GUID.jpg in the dataset folder. Or it is a list in CSV, JSON lines or
    Parquet with columns for text and image, or a folder: see docs/data.md. If a row or a file is
    bad, every bad one is named and nothing is written.
    """
    from mmsent.files.destination import STDOUT, is_stream
    from mmsent.predict.infer import infer as infer_list

    reading = replace(reading, folder=folder, split=split)
    counts = infer_list(
        list_path, model, output, reading=reading, skip=on_error == "skip", **options
    )
    streamed = is_stream(output)
    click.echo(f"wrote {'stdout' if output == STDOUT else output}", err=True)
    if counts.failed:
        where = "the lines above say" if streamed else f"{output}.errors.csv says"
        raise MmsentError(
            f"{counts.failed} of {counts.rows} rows could not be predicted; {where} why"
        )


@cli.command("check-data")
@click.argument("folder", metavar="[DIR]", required=False, type=DATASET)
@DATA
@VALIDATION
@LABELS
@click.option(
    "--modality",
    type=click.Choice(["both", "text", "image"]),
    default="both",
    show_default=True,
    help="What a model is to see of a pair; the rest is not looked at.",
)
@reading_options
@click.option(
    "--model", type=FILE, help="A bundle: how much of the texts it knows, and what it requires."
)
@click.option("--all", "show_all", is_flag=True, help="Print every problem, not by their kinds.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
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
    """Say what is wrong with a dataset, and what is in it; change nothing.

    DIR is another way to write --data. Exits with 2 where `mmsent train` with the same options
    would refuse the data or, if it has no labels, where inference would.
    """
    from mmsent.data.check import Reader, check_dataset
    from mmsent.data.check_report import describe
    from mmsent.data.training import BOTH

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
        parts=[part for part in BOTH if modality in (part, "both")],
        reader=reader,
    )
    as_text = to_json(asdict(check)) if as_json else None
    click.echo(as_text or describe(check, every=show_all))
    if check.errors:
        raise click.exceptions.Exit(2)


@cli.command("pack")
@click.argument("source", metavar="SRC", type=DATASET)
@click.argument("output", metavar="FILE.parquet", type=FILE)
@reading_options
def pack_command(source: Path, output: Path, reading: Reading) -> None:
    """Write the pairs of a dataset into one Parquet file.

    SRC is a list or a folder: see docs/data.md. The file has the columns guid, text, image and tag,
    and the layout of Hugging Face's datasets; every command accepts it. Images keep their bytes.
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


@cli.command("sample-data")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pairs", default=400, show_default=True, type=click.IntRange(min=20))
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--labels",
    default="negative,neutral,positive",
    show_default=True,
    help="Its labels; of others than these, the words are made up.",
)
def sample_data(folder: Path, pairs: int, seed: int, labels: str) -> None:
    """Write a small synthetic dataset into DIR, in the task's layout."""
    from mmsent.data.sample import write_sample_data

    labelled, unlabelled = write_sample_data(
        folder, pairs=pairs, seed=seed, labels=labels.split(",")
    )
    click.echo(
        f"wrote {labelled} labelled and {unlabelled} unlabelled pairs to {folder}; "
        "they are synthetic: random words and shapes",
        err=True,
    )


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--require", type=click.Choice(["gpu"]), help="Fail unless there is a GPU to train on."
)
@click.option("--model", type=FILE, help="Check this bundle, too.")
@click.option("--online", is_flag=True, help="Ask whether the hub with CLIP's weights answers.")
@click.option(
    "--verbose",
    is_flag=True,
    help="Add the raw facts, for a bug report; names, homes and secrets are taken out.",
)
@click.option(
    "--time-limit",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long a library or a driver may take to answer.",
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
    """Say what is wrong with this machine, and how to fix it; change nothing.

    Exits with 1 where something fails that the installed parts need. docs/doctor.md lists every
    finding.
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


def run(command: click.Command) -> None:
    """Run a command; where the work or its input is at fault, end with one message."""
    prepare_streams()
    try:
        with console(), warnings.catch_warnings():
            # Pillow warns of what is odd in an image without naming it; what matters becomes an
            # error.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            try:
                command()
            except Exception as error:
                raise_shortage(error)
                raise
    except MmsentError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        click.echo(f"Error: {error.filename or 'input or output'}: {error.strerror}", err=True)
        sys.exit(1)


def main() -> None:
    """The command `mmsent`."""
    run(cli)


def infer_main() -> None:
    """The command `mmsent-infer`."""
    run(infer)

"""The command `mmsent-export`, which is also `mmsent export`. Heavy modules are imported inside."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsent.cli import run
from mmsent.help import HelpCommand, option, version
from mmsent.options import BUNDLE, DATA, DATASET, FILE, FOLDER, FiniteRange, reading_options
from mmsent_training.runs.latest import RunFolder

if TYPE_CHECKING:
    from mmsent.bundle.info import Precision
    from mmsent.data.dataset import Reading


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@version
@click.pass_context
def export(context: click.Context) -> None:
    """Export a run to a file that predicts without PyTorch."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@export.command(
    cls=HelpCommand,
    examples="mmsent-export onnx\n"
    "mmsent-export onnx runs/latest --precision int8 --output small.onnx\n"
    "mmsent-export onnx --embeddings --output with-embeddings.onnx",
)
@click.argument("run_folder", metavar="[RUN]", default="runs/latest", type=RunFolder())
@option(
    "--output",
    default="model.onnx",
    show_default=True,
    type=FILE,
    help="The bundle to write.",
    group="Output",
)
@option(
    "--data",
    type=DATASET,
    help="The run's dataset.  [default: where it was trained]",
    group="Data",
)
@option(
    "--validation",
    type=DATASET,
    help="The run's validation dataset, if it has moved.",
    group="Data",
)
@option(
    "--images",
    type=FOLDER,
    help="The folder of the run's images, if they have moved.",
    group="Data",
)
@option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp16: half the size, for GPUs. int8: a quarter of the size, fast on CPUs.",
    group="Output",
)
@option(
    "--accept-loss",
    "loss",
    metavar="PERCENT",
    type=FiniteRange(0, 100),
    help="The share of labels that fp16 and int8 may change, and the points of accuracy they may "
    "lose.  [default: 1]",
    group="Output",
)
@option(
    "--embeddings",
    is_flag=True,
    help="Add the output embedding, the features of text and image that the classifier reads. "
    "SentimentModel.embed and mmsent-infer --embeddings return it.",
    group="Output",
)
def onnx(
    run_folder: Path,
    output: Path,
    data: Path | None,
    validation: Path | None,
    images: Path | None,
    precision: Precision,
    loss: float | None,
    embeddings: bool,
) -> None:
    """Export a run to one ONNX file, a bundle.

    RUN is the run's folder, by default runs/latest. The bundle is written only if it predicts the
    run's validation pairs as PyTorch does in fp32. An fp32 bundle may change no label; what fp16
    and int8 may change is --accept-loss. int8 is calibrated on training pairs.
    """
    if loss is not None and precision == "fp32":
        raise click.UsageError("--accept-loss is for fp16 and int8: fp32 loses nothing")
    # PyTorch's exporter warns about shapes that it can't infer, transformers about the attention of
    # CLIP's two towers. Both are harmless: the exporter verifies the graph.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from mmsent_export.export import export_run
    from mmsent_export.verify import ACCEPTED_LOSS

    for name in ("torch.onnx", "transformers.modeling_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    loss = ACCEPTED_LOSS if loss is None else loss
    result = export_run(
        run_folder,
        output,
        data=data,
        validation=validation,
        images=images,
        precision=precision,
        accepted_loss=loss,
        embeddings=embeddings,
    )
    size = output.stat().st_size / 1e6
    click.echo(
        f"{result}\nwrote {output} ({size:.1f} MB)\nNext: mmsent-infer LIST --model {output}",
        err=True,
    )


@export.command(
    cls=HelpCommand,
    examples="mmsent-export web site\nmmsent-export web site --with-examples 20 --data posts.csv",
)
@click.argument("site", metavar="SITE", type=click.Path(path_type=Path))
@BUNDLE
@option(
    "--with-examples",
    "count",
    metavar="N",
    type=click.IntRange(min=1),
    help="Publish N labelled pairs of --data with the site, for its self-test. Everyone who can "
    "open the site can read them.  [default: none; synthetic pairs]",
    group="Data",
)
@DATA
@reading_options
def web(site: Path, model: Path, count: int | None, data: Path, reading: Reading) -> None:
    """Export a bundle to a website that predicts in the browser.

    SITE is a folder of static files for any web server. Its page predicts and explains without a
    server: texts and images stay in the browser. The page checks itself with pairs that Python has
    predicted: synthetic ones, or with --with-examples yours, if possible those that the bundle
    was validated on. See docs/web.md.
    """
    from mmsent_export.web import write_site

    examples = None
    if count is not None:
        from mmsent_export.web_examples import read_examples

        examples = read_examples(model, data, count, reading=reading)
    files = write_site(site, model, examples)
    size = sum(path.stat().st_size for path in files) / 1e6
    click.echo(
        f"wrote {site} ({len(files)} files, {size:.1f} MB)\n"
        f"Next: python -m http.server --bind 127.0.0.1 --directory {site}",
        err=True,
    )


def main() -> None:
    """The command `mmsent-export`."""
    run(export)

"""The command `mmsent-export`, which is also `mmsent export`. Heavy modules are imported inside."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsent.cli import run
from mmsent.help import HelpCommand, option, version
from mmsent.options import DATASET, FILE, FOLDER
from mmsent_training.runs.latest import RunFolder

if TYPE_CHECKING:
    from mmsent.bundle.info import Precision


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
    "mmsent-export onnx runs/latest --precision int8 --output small.onnx",
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
    type=click.FloatRange(0, 100),
    help="The share of labels that fp16 and int8 may change, and the points of accuracy they may "
    "lose.  [default: 1]",
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
    )
    size = output.stat().st_size / 1e6
    click.echo(
        f"{result}\nwrote {output} ({size:.1f} MB)\nNext: mmsent-infer LIST --model {output}",
        err=True,
    )


def main() -> None:
    """The command `mmsent-export`."""
    run(export)

"""The command `mmsent-export`, which is also `mmsent export`. Heavy modules are imported inside."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsent.cli import run
from mmsent.options import DATASET, FILE, FOLDER
from mmsent_training.runs.latest import RunFolder

if TYPE_CHECKING:
    from mmsent.bundle.info import Precision


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def export(context: click.Context) -> None:
    """Turn a run into something to ship."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@export.command()
@click.argument("run_folder", metavar="[RUN]", default="runs/latest", type=RunFolder())
@click.option("--output", default="model.onnx", show_default=True, type=FILE, help="The bundle.")
@click.option("--data", type=DATASET, help="The run's dataset.  [default: where it was trained]")
@click.option("--validation", type=DATASET, help="Its pairs to validate on, if kept elsewhere.")
@click.option("--images", type=FOLDER, help="Its images, if they are to be looked for elsewhere.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp32; fp16 for GPUs, or half the size; int8 for CPUs: fast, a quarter of the size.",
)
@click.option(
    "--accept-loss",
    "loss",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Labels that fp16 and int8 may change, and points of accuracy lost.  [default: 1]",
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
    """Export RUN (default: runs/latest) to one ONNX bundle.

    Before it is written, the bundle must answer as PyTorch fp32 does on the run's validation
    pairs. An fp32 bundle may change no label; int8 is calibrated on training pairs.
    """
    if loss is not None and precision == "fp32":
        raise click.UsageError("--accept-loss is for fp16 and int8: fp32 loses nothing")
    # PyTorch's exporter warns of shapes that it can't infer, and transformers of CLIP's two towers,
    # whose attention it can't check: the graph is verified in any case.
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
        f"{result}\nwrote {output} ({size:.1f} MB); next: mmsent-infer LIST --model {output}",
        err=True,
    )


def main() -> None:
    """The command `mmsent-export`."""
    run(export)

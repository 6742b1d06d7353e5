"""The command `mmsent-export`, which is also `mmsent export`. Heavy modules are imported inside."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mmsent.cli import DATASET, FILE, run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def export() -> None:
    """Turn a run into something to ship."""


@export.command()
@click.argument(
    "run_folder",
    metavar="[RUN]",
    default="runs/latest",
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option("--output", default="model.onnx", show_default=True, type=FILE, help="The bundle.")
@click.option(
    "--data",
    type=DATASET,
    help="The run's dataset, to verify on.  [default: where the run was trained]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp32; fp16 for GPUs, or half the size; int8 for CPUs: fast, a quarter of the size.",
)
@click.option(
    "--accept-loss",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Labels that fp16 and int8 may change, and points of accuracy lost.  [default: 1]",
)
def onnx(
    run_folder: Path,
    output: Path,
    data: Path | None,
    precision: str,
    accept_loss: float | None,
) -> None:
    """Export RUN (default: runs/latest) to one ONNX bundle.

    Before it is written, the bundle must answer as PyTorch fp32 does on the run's validation
    pairs. An fp32 bundle may change no label; int8 is calibrated on training pairs.
    """
    # PyTorch's exporter warns of shapes that it can't infer; the graph is checked without them.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from mmsent_export.export import export_run
    from mmsent_export.verify import ACCEPTED_LOSS, describe

    if accept_loss is not None and precision == "fp32":
        raise click.UsageError("--accept-loss is for fp16 and int8: fp32 loses nothing")
    loss = ACCEPTED_LOSS if accept_loss is None else accept_loss
    verification = export_run(
        run_folder, output, data=data, precision=precision, accepted_loss=loss
    )
    click.echo(describe(verification), err=True)
    size = output.stat().st_size / 1e6
    click.echo(
        f"wrote {output} ({size:.1f} MB); next: mmsent-infer LIST --model {output}", err=True
    )


def main() -> None:
    """The command `mmsent-export`."""
    run(export)

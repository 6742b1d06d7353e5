"""The command `mmsent-export`, which is also `mmsent export`. Heavy modules are imported inside."""

from __future__ import annotations

from pathlib import Path

import click

from mmsent.cli import FILE, FOLDER, run


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
    type=FOLDER,
    help="The run's dataset, to verify on.  [default: where the run was trained]",
)
def onnx(run_folder: Path, output: Path, data: Path | None) -> None:
    """Export RUN (default: runs/latest) to one ONNX bundle.

    Before it is written, the bundle must answer as PyTorch does on the run's validation pairs.
    """
    from mmsent_export.export import export_run
    from mmsent_export.verify import describe

    verification = export_run(run_folder, output, data=data)
    click.echo(describe(verification), err=True)
    size = output.stat().st_size / 1e6
    click.echo(
        f"wrote {output} ({size:.1f} MB); next: mmsent-infer LIST --model {output}", err=True
    )


def main() -> None:
    """The command `mmsent-export`."""
    run(export)

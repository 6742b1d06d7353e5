"""The commands `mmsent train` and `mmsent evaluate`. Heavy modules are imported inside them."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.core import ParameterSource

from mmsent.cli import FILE, FOLDER
from mmsent.errors import InputError, MmsentError


@click.command()
@click.option("--data", default=".", type=FOLDER, help="The dataset folder.  [default: here]")
@click.option(
    "--model",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "clip", "compact", "light"]),
    help="What to train; auto takes the first of the others whose weights can be had.",
)
@click.option(
    "--clip",
    default="openai/clip-vit-base-patch32",
    show_default=True,
    metavar="NAME|DIR",
    help="The CLIP checkpoint: its name on the hub, or a folder.",
)
@click.option(
    "--freeze/--no-freeze",
    default=None,
    help="Train CLIP's head alone, or all of it.  [default: freeze on a CPU]",
)
@click.option(
    "--modality",
    default="both",
    show_default=True,
    type=click.Choice(["both", "text", "image"]),
    help="What the model sees of a pair.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where to train; auto takes a GPU if PyTorch sees one.",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: 6 on a CPU, 10 on a GPU]")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 16 on a CPU, 32 on a GPU]")
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    help="[default: 2e-3 for light, 1e-3 for clip's head]",
)
@click.option("--seed", default=42, show_default=True, type=click.IntRange(0))
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run's folder.  [default: runs/MODEL-YYYYmmdd-HHMMSS]",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(file_okay=False, path_type=Path),
    help="Go on with a run that was interrupted, after its last finished epoch. It keeps its own "
    "settings; only --data and --clip may be given, where those have moved.",
)
@click.pass_context
def train(
    context: click.Context,
    data: Path,
    model: str,
    clip: str,
    freeze: bool | None,
    modality: str,
    device: str,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int,
    output: Path | None,
    resume: Path | None,
) -> None:
    """Train a model on train.txt and write a run.

    A tenth of the pairs, the same for every seed, is set aside for validation. The run holds the
    best epoch's weights with all that `mmsent export` needs, and a report.
    """
    import torch

    from mmsent_training.choose import choose_model
    from mmsent_training.metrics import describe
    from mmsent_training.packages import CompactCheckpoint, find_compact
    from mmsent_training.run import is_finished, read_run
    from mmsent_training.settings import default_settings
    from mmsent_training.state import read_start
    from mmsent_training.train import train as train_model
    from mmsent_training.weights import ClipCheckpoint, find_clip

    start = None
    checkpoint: ClipCheckpoint | CompactCheckpoint | None = None
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if resume is not None:
        if other := sorted(given - {"resume", "data", "clip"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in other)
            raise InputError(f"--resume: a run keeps the settings it has; leave out {names}")
        if is_finished(resume):
            click.echo(f"{resume} is finished; next: mmsent-export onnx {resume}", err=True)
            return
        start = read_start(resume)
        device = start.settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    if start is None:
        name, checkpoint, chosen = choose_model(model, clip)
        if name == "light" and freeze:
            raise InputError("--freeze: the light model has no pretrained part to freeze")
        if name == "compact" and freeze is False:
            raise InputError("--no-freeze: the compact model's lower layers are always frozen")
        settings = default_settings(
            name,
            device,
            freeze=freeze,
            modality=modality,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=lr,
            seed=seed,
        )
    else:
        settings, chosen = start.settings, start.chosen
        data = data if "data" in given else Path(start.data)
        if start.clip:
            checkpoint = find_clip(clip if "clip" in given else start.clip["name"])
        elif settings.model == "compact":
            checkpoint = find_compact()
    try:
        folder = train_model(
            data, settings, output, chosen=chosen, checkpoint=checkpoint, resume=resume
        )
    except torch.cuda.OutOfMemoryError:
        smaller = f"--batch-size {max(1, settings.batch_size // 2)}"
        raise MmsentError(
            f"the GPU's memory is too small for --batch-size {settings.batch_size}; try {smaller}"
        ) from None
    click.echo(describe(read_run(folder).record["metrics"]))
    click.echo(f"wrote {folder}; next: mmsent-export onnx {folder}", err=True)


@click.command()
@click.option("--model", default="model.onnx", show_default=True, type=FILE, help="The bundle.")
@click.option("--data", default=".", type=FOLDER, help="The dataset folder.  [default: here]")
@click.option(
    "--split",
    default="validation",
    show_default=True,
    type=click.Choice(["validation", "train", "all"]),
    help="Which pairs of train.txt, as the bundle's training divided them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(model: Path, data: Path, split: str, as_json: bool) -> None:
    """Say how good a bundle is on labelled pairs."""
    from mmsent_training.evaluate import evaluate_bundle
    from mmsent_training.metrics import describe

    scores = evaluate_bundle(model, data, split)
    click.echo(json.dumps(scores) if as_json else describe(scores))


@click.command("download-clip")
@click.option(
    "--clip",
    "name",
    help="The checkpoint's name on the hub.  [default: openai/clip-vit-base-patch32]",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="A folder to carry to another machine.  [default: the hub's cache]",
)
def download_clip(name: str | None, to: Path | None) -> None:
    """Fetch CLIP's weights, for training where there will be no network.

    A download that was interrupted goes on where it stopped. What is there already is verified,
    and needs no network.
    """
    from mmsent_training.weights import DEFAULT_CLIP, download, how_to_use

    name = name or DEFAULT_CLIP
    checkpoint, fetched = download(name, to)
    click.echo(
        f"{name} {'was fetched to' if fetched else 'is already in'} {checkpoint.folder}, whole and "
        f"verified; {how_to_use(name, to)}",
        err=True,
    )

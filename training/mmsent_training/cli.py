"""The commands of training. Heavy modules are imported inside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmsent.cli import DATASET, FILE
from mmsent.errors import InputError, MmsentError

if TYPE_CHECKING:
    from mmsent_training.settings import Settings
    from mmsent_training.weights.hub import ClipCheckpoint
    from mmsent_training.weights.packages import CompactCheckpoint


DATA = click.option(
    "--data", default=".", type=DATASET, help="The dataset folder or Parquet file.  [default: here]"
)
MODALITY = click.option(
    "--modality",
    default="both",
    show_default=True,
    type=click.Choice(["both", "text", "image"]),
    help="What the model sees of a pair.",
)
OUTPUT = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run's folder.  [default: runs/MODEL-YYYYmmdd-HHMMSS]",
)
RESUME = click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(file_okay=False, path_type=Path),
    help="Go on with a run that was interrupted, after its last finished epoch. It keeps its own "
    "settings; only --data and --clip may be given, where those have moved.",
)
HOW = (
    click.option(
        "--model",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "clip", "compact", "light"]),
        help="What to train; auto takes the first of the others whose weights can be had.",
    ),
    click.option(
        "--preset",
        default="default",
        show_default=True,
        type=click.Choice(["default", "reference"]),
        help="reference: clip and light as the task's report has them.",
    ),
    click.option(
        "--clip",
        default="openai/clip-vit-base-patch32",
        show_default=True,
        metavar="NAME|DIR",
        help="The CLIP checkpoint: its name on the hub, or a folder.",
    ),
    click.option(
        "--freeze/--no-freeze",
        default=None,
        help="Train CLIP's head alone, or all of it.  [default: freeze on a CPU]",
    ),
    click.option(
        "--rated-texts/--no-rated-texts",
        default=None,
        help="Let the compact model's text encoder learn from 18,512 rated texts first.  "
        "[default: for compact]",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "cpu", "cuda"]),
        help="Where to train; auto takes a GPU if PyTorch sees one.",
    ),
    click.option("--epochs", type=click.IntRange(1), help="[default: the model's and device's]"),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        help="Pairs computed at a time.  [default: the model's and device's]",
    ),
    click.option(
        "--accumulation",
        type=click.IntRange(1),
        help="Batches that make one step; several processes divide them.  "
        "[default: the model's and device's]",
    ),
    click.option(
        "--lr",
        type=click.FloatRange(0, min_open=True),
        help="[default: 3e-3 for light, 1e-3 for clip's and compact's heads, 2e-3 for light's "
        "reference preset]",
    ),
    click.option("--seed", default=42, show_default=True, type=click.IntRange(0, 2**32 - 1)),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a model is trained, as ``settings_of`` takes them."""
    for option in reversed(HOW):
        command = option(command)
    return command


def settings_of(
    model: str,
    preset: str,
    clip: str,
    freeze: bool | None,
    rated_texts: bool | None,
    device: str,
    epochs: int | None,
    batch_size: int | None,
    accumulation: int | None,
    lr: float | None,
    seed: int,
    modality: str = "both",
) -> tuple[Settings, ClipCheckpoint | CompactCheckpoint | None, str]:
    """The settings, the pretrained weights and why it is this model, from the options.

    Raises InputError for options that contradict each other.
    """
    from mmsent_training.models.registry import choose_model
    from mmsent_training.settings import default_settings

    device = _device(device)
    name, checkpoint, chosen = choose_model(model, clip)
    if name == "light" and freeze:
        raise InputError("--freeze: the light model has no pretrained part to freeze")
    if name == "compact" and freeze is False:
        raise InputError("--no-freeze: the compact model's lower layers are always frozen")
    if name != "compact" and rated_texts:
        raise InputError(f"--rated-texts: the {name} model does not learn from rated texts")
    if name == "compact" and preset == "reference":
        raise InputError("--preset reference: the task's report has no compact model")
    settings = default_settings(
        name,
        device,
        preset=preset,
        freeze=freeze,
        rated_texts=rated_texts,
        modality=modality,
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=lr,
        seed=seed,
    )
    return settings, checkpoint, chosen


def _device(asked: str) -> str:
    """The device to train on. Raises InputError where there is none such."""
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def enough_memory(settings: Settings) -> Iterator[None]:
    """Turn a GPU's lack of memory into a message that says what to do."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        size = settings.batch_size // 2
        # A step keeps its size, or nearly so.
        more = f"try --batch-size {size} --accumulation {2 * settings.accumulation}"
        raise MmsentError(
            f"the GPU's memory is too small for --batch-size {settings.batch_size}; "
            + (more if size else "take another model or GPU")
        ) from None


@click.command()
@DATA
@training_options
@MODALITY
@OUTPUT
@RESUME
@click.pass_context
def train(
    context: click.Context, /, data: Path, output: Path | None, resume: Path | None, **options: Any
) -> None:
    """Train a model on train.txt and write a run.

    A tenth of the pairs, the same for every seed, is set aside for validation. The run holds the
    trained weights with all that `mmsent export` needs, and a report.
    """
    from mmsent_training import distributed

    with distributed.only_main_speaks():
        _train(context, data, output, resume, options)
        distributed.leave()


def _train(
    context: click.Context,
    data: Path,
    output: Path | None,
    resume: Path | None,
    options: dict[str, Any],
) -> None:
    from mmsent_training import distributed
    from mmsent_training.evaluation.metrics import describe
    from mmsent_training.runs.run import is_finished, read_run
    from mmsent_training.runs.state import read_start
    from mmsent_training.train import train as train_model
    from mmsent_training.weights.hub import find_clip
    from mmsent_training.weights.packages import find_compact

    if resume is None:
        settings, checkpoint, chosen = settings_of(**options)
    else:
        given = {
            name
            for name in context.params
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        if other := sorted(given - {"resume", "data", "clip"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in other)
            raise InputError(f"--resume: a run keeps the settings it has; leave out {names}")
        if is_finished(resume):
            click.echo(f"{resume} is finished; next: mmsent-export onnx {resume}", err=True)
            return
        start = read_start(resume)
        settings, chosen, checkpoint = start.settings, start.chosen, None
        _device(settings.device)
        data = data if "data" in given else Path(start.data)
        if start.clip:
            checkpoint = find_clip(options["clip"] if "clip" in given else start.clip["name"])
        elif settings.model == "compact":
            checkpoint = find_compact()
    with enough_memory(settings):
        folder = train_model(
            data, settings, output, chosen=chosen, checkpoint=checkpoint, resume=resume
        )
    if distributed.rank() == 0:
        click.echo(describe(read_run(folder).record["metrics"]))
        click.echo(f"wrote {folder}; next: mmsent-export onnx {folder}", err=True)


@click.command()
@DATA
@training_options
@OUTPUT
def ablate(data: Path, output: Path | None, **options: Any) -> None:
    """Train a model on both modalities, on text alone and on images alone, and compare.

    The three trainings share settings, seed and pairs. The folder holds their runs, ablation.md
    with every figure, its interval and whether the differences are significant, and a picture.
    """
    from mmsent_training.evaluation.ablation import ablate as compare
    from mmsent_training.evaluation.ablation import table
    from mmsent_training.train import train as train_model

    settings, checkpoint, chosen = settings_of(**options)

    def train_one(settings: Settings, folder: Path) -> Path:
        return train_model(data, settings, folder, chosen=chosen, checkpoint=checkpoint)

    with enough_memory(settings):
        folder = compare(settings, output, train_one)
    click.echo(table(json.loads((folder / "ablation.json").read_text(encoding="utf-8"))))
    click.echo(f"wrote {folder}", err=True)


@click.command()
@click.option("--model", default="model.onnx", show_default=True, type=FILE, help="The bundle.")
@DATA
@click.option(
    "--split",
    default="validation",
    show_default=True,
    type=click.Choice(["validation", "train", "all"]),
    help="Which pairs of train.txt, as the bundle's training divided them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for confusion.png and reliability.png.",
)
def evaluate(model: Path, data: Path, split: str, as_json: bool, pictures: Path | None) -> None:
    """Say how good a bundle is on labelled pairs, and how far its probabilities can be trusted."""
    from mmsent_training.evaluation.evaluate import evaluate_bundle
    from mmsent_training.evaluation.metrics import describe
    from mmsent_training.runs.report import write_confusion, write_reliability

    scores = evaluate_bundle(model, data, split)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        write_confusion(pictures / "confusion.png", scores["confusion"])
        error = scores["calibration_error"]
        write_reliability(pictures / "reliability.png", scores["reliability"], error)
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
    from mmsent_training.weights.hub import DEFAULT_CLIP, download, how_to_use

    name = name or DEFAULT_CLIP
    checkpoint, fetched = download(name, to)
    click.echo(
        f"{name} {'was fetched to' if fetched else 'is already in'} {checkpoint.folder}, whole and "
        f"verified; {how_to_use(name, to)}",
        err=True,
    )

"""The commands of training. Heavy modules are imported inside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmsent.clip_pin import REPOSITORY
from mmsent.errors import InputError, MmsentError
from mmsent.help import HelpCommand, given, option
from mmsent.options import DATA, LABELS, VALIDATION, reading_options
from mmsent_training.evaluation.cli import compare, evaluate
from mmsent_training.models import registry
from mmsent_training.options import LOG_TO, MODALITY, OUTPUT, RESUME, SET, training_options
from mmsent_training.settings import Settings
from mmsent_training.tracking import check_installed, tracked, tracking

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent_training.runs.resume import Start

__all__ = ["ablate", "compare", "download_clip", "evaluate", "train"]


def settings_of(
    model: str, device: str, modality: str = "both", **options: Any
) -> tuple[Settings, registry.Choice]:
    """The settings, and the model with its weights, from the options.

    Raises InputError for options that contradict each other.
    """
    from mmsent_training.devices import pick_device

    found = pick_device(device)
    own = {option.name: options[option.name] for option in registry.model_options()}
    chosen = registry.choose(model, own)
    return registry.default_settings(chosen.model, found, modality=modality, **options), chosen


def read_data(data: Path, options: Mapping[str, Any], **where: Any) -> dict[str, Any]:
    """The arguments of `train` about the pairs; reads them before weights are searched.

    Raises InputError if ``data`` has nothing to train on.
    """
    from mmsent.data.labels import VALIDATION_FRACTION
    from mmsent.data.pair import PARTS
    from mmsent.data.training import TrainingSource

    parts = [part for part in PARTS if options.get("modality", "both") in (part, "both")]
    fraction = options.get("validation_fraction", VALIDATION_FRACTION)
    return where | {"found": TrainingSource(data, **where).read(parts, fraction=fraction)}


@contextmanager
def enough_memory(settings: Settings) -> Iterator[None]:
    """Turn a GPU's lack of memory into a message that says what to do."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        size, steps = settings.batch_size // 2, 2 * settings.gradient_accumulation_steps
        # A step keeps its size, at least approximately.
        less = f"Try --batch-size {size} --gradient-accumulation-steps {steps}"
        raise MmsentError(
            f"the GPU's memory is too small for --batch-size {settings.batch_size}\n"
            + (less if size else "Use another model or GPU")
        ) from None


def prepare_process() -> None:
    """Set environment variables that PyTorch reads at import; only for commands."""
    # How often a waiting thread of GNU OpenMP checks for work before it sleeps. Light on 2 cores:
    # without sleeping, one epoch next to 8 busy processes took 7 times the CPU seconds of a free
    # machine; with 10,000 the epoch itself took about twice as many, with 3,000 hardly more. Less
    # than 3,000 slows training on a free machine by a fifth (benchmarks/busy_machine.py).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for determinism on CUDA


@click.command(
    cls=HelpCommand,
    examples="mmsent train --data posts.csv\n"
    "mmsent train --model light --epochs 3 --output runs/try\n"
    "mmsent train --log-to tensorboard --log-to mlflow\n"
    "mmsent train --resume runs/latest",
)
@DATA
@VALIDATION
@LABELS
@reading_options
@training_options
@MODALITY
@SET
@OUTPUT
@RESUME
@LOG_TO
@click.pass_context
def train(
    context: click.Context,
    /,
    data: Path,
    validation: Path | None,
    labels: tuple[str, ...] | None,
    reading: Reading,
    output: Path | None,
    resume: Path | None,
    log_to: tuple[str, ...],
    **options: Any,
) -> None:
    """Train a model on labelled pairs.

    The command validates on the pairs of --validation, or of the dataset's own validation split.
    Without either it sets a tenth of the pairs aside, the same ones for every seed. It writes a
    run: a folder with the trained weights, all that `mmsent export` needs, and a report.
    """
    prepare_process()
    from mmsent_training import distributed
    from mmsent_training.train import train as train_model

    with distributed.only_main_speaks():
        if resume is None:
            check_installed(log_to)  # before the pairs are read
            assign(context, options)
            where = read_data(data, options, validation=validation, labels=labels, reading=reading)
            settings, chosen = settings_of(**options)
            with tracking(log_to, settings) as callback:
                kept = where | {"callback": callback}
                _run(settings, lambda: train_model(data, settings, chosen, output, **kept))
        else:
            moved = data if given(context, "data") else None, validation, reading.images
            _resume(context, resume, moved, options)
        distributed.leave()


def assign(context: click.Context, options: dict[str, Any]) -> None:
    """Add the settings that --set names to ``options``.

    Raises InputError if an explicit option says otherwise.
    """
    for name, value in options.pop("set").items():
        if given(context, name) and options.get(name, value) != value:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"--set {name}={value} contradicts {flag} {options[name]}; give one")
        options[name] = value
        context.set_parameter_source(name, ParameterSource.COMMANDLINE)


def check_alone(context: click.Context) -> None:
    """Raise InputError for options that --resume does not allow: only moved files can be named."""
    movable = {"resume", "data", "validation", "images", "as_json"}
    movable |= {option.name for option in registry.model_options() if option.kind == "source"}
    if other := sorted({name for name in context.params if given(context, name)} - movable):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in other)
        raise InputError(f"--resume keeps the settings of the run; leave out {names}")


def _resume(
    context: click.Context,
    folder: Path,
    moved: tuple[Path | None, Path | None, Path | None],
    options: dict[str, Any],
) -> None:
    """Resume a run; ``moved``: where data, validation and images are now, if they have moved."""
    from mmsent_training.runs.resume import read_start
    from mmsent_training.runs.run import is_finished
    from mmsent_training.train import resume

    check_alone(context)
    if is_finished(folder):
        click.echo(f"{folder} is finished\nNext: mmsent-export onnx {folder}", err=True)
        return
    start = read_start(folder)
    found = choose_again(start, options)
    data = start.data.move(*moved)
    with tracking(tracked(folder), start.settings) as callback:
        _run(start.settings, lambda: resume(folder, start, found, data=data, callback=callback))


def choose_again(start: Start, options: Mapping[str, Any]) -> registry.Choice:
    """The model that ``start`` chose, with its weights, which ``options`` may name elsewhere.

    Raises InputError if the device or the weights are not there any more.
    """
    from mmsent_training.devices import pick_device

    name = start.settings.model
    pick_device(start.settings.device)
    sources = start.sources | registry.find_sources(name, options)
    weights = registry.find_model(name).recipe.find_weights(sources)
    return registry.Choice(name, weights, sources, start.chosen)


def _run(settings: Settings, train: Callable[[], Path]) -> None:
    """Train with ``train`` and ``settings``, and print how good the run is."""
    from mmsent_training import distributed
    from mmsent_training.evaluation.metrics import describe
    from mmsent_training.runs.record import read_record

    distributed.connect(settings.device)
    with enough_memory(settings):
        folder = train()
    if distributed.rank() == 0:
        click.echo(describe(read_record(folder).metrics))
        click.echo(f"wrote {folder}\nNext: mmsent-export onnx {folder}", err=True)


@click.command(cls=HelpCommand, examples="mmsent ablate --data posts.csv --model light")
@DATA
@VALIDATION
@LABELS
@reading_options
@training_options
@OUTPUT
def ablate(
    data: Path,
    validation: Path | None,
    labels: tuple[str, ...] | None,
    reading: Reading,
    output: Path | None,
    **options: Any,
) -> None:
    """Train on both modalities and on each alone, and compare.

    The three models share settings, seed and pairs. The command writes a folder with their
    runs, a picture, and ablation.md: the scores with their intervals, and which differences are
    significant.
    """
    prepare_process()
    from mmsent_training.evaluation.ablation import ablate as compare
    from mmsent_training.evaluation.ablation import table
    from mmsent_training.train import train as train_model

    where = read_data(data, options, validation=validation, labels=labels, reading=reading)
    settings, chosen = settings_of(**options)
    with enough_memory(settings):
        folder, ablation = compare(
            settings, output, lambda changed, run: train_model(data, changed, chosen, run, **where)
        )
    click.echo(table(ablation))
    click.echo(f"wrote {folder}", err=True)


@click.command(
    "download-clip",
    cls=HelpCommand,
    examples="mmsent download-clip\nmmsent download-clip --to clip-weights",
)
@option(
    "--clip",
    "name",
    default=REPOSITORY,
    show_default=True,
    help="The checkpoint's name on the hub.",
    group="Model",
)
@option(
    "--to",
    type=click.Path(path_type=Path),
    help="Also copy it to this folder, to carry to another machine.",
    group="Output",
)
def download_clip(name: str, to: Path | None) -> None:
    """Download CLIP's weights, to train without a network.

    Files that are already there are verified, which needs no network. After an interruption, run
    the command again: it keeps complete files, and resumes others if the hub's library can.
    """
    import shlex

    from mmsent_training.weights.hub import download

    checkpoint, fetched = download(name, to)
    click.echo(
        f"{name} {'was downloaded to' if fetched else 'is already in'} {checkpoint.folder} and "
        f"verified\nTrain with `mmsent train --model clip --clip {shlex.quote(str(to or name))}`",
        err=True,
    )

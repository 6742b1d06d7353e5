"""The commands `mmsent infer`, which is also `mmsent-infer`, and `mmsent predict`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsent.errors import InputError, MmsentError
from mmsent.files.console import to_json
from mmsent.help import HelpCommand, given, option
from mmsent.options import BUNDLE, DEVICE, FILE, FOLDER, reading_options

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent.predict.batches import Prediction

BAR = 30  # columns


@click.command(
    "infer",
    cls=HelpCommand,
    examples="mmsent-infer test_without_label.txt\n"
    "mmsent-infer posts.csv --output predictions.csv --probabilities\n"
    "mmsent-infer posts.csv --output predictions.parquet --embeddings",
)
@click.argument("list_path", metavar="LIST", type=click.Path(path_type=Path))
@BUNDLE
@option(
    "--data",
    "folder",
    type=FOLDER,
    help="The dataset folder.  [default: the folder of LIST]",
    group="Data",
)
@reading_options
@option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="The split to predict.  [default: test if the dataset has it, otherwise all]",
    group="Data",
)
@option(
    "--output",
    default="submission.csv",
    show_default=True,
    type=FILE,
    help="The predictions, as CSV, JSON Lines (.jsonl) or Parquet (.parquet); - for stdout.",
    group="Output",
)
@option(
    "--probabilities",
    is_flag=True,
    help="Also write the probability of each label.",
    group="Output",
)
@option(
    "--embeddings",
    is_flag=True,
    help="Also write the embedding of each pair: a list of numbers, in JSON Lines or Parquet. The "
    "bundle must give them: see mmsent-export onnx --embeddings.",
    group="Output",
)
@option(
    "--on-error",
    default="fail",
    show_default=True,
    type=click.Choice(["fail", "skip"]),
    help="Bad rows: predict nothing (fail), or list them in OUTPUT.errors.csv and predict the "
    "others (skip).",
    group="Output",
)
@option(
    "--resume",
    is_flag=True,
    help="Continue where an interrupted inference stopped.",
    group="Output",
)
@DEVICE
@option(
    "--threads",
    "workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Batches computed at the same time, each on one core.  [default: all cores]",
    group="Model",
)
@option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    help="Pairs in a batch.  [default: 8]",
    group="Model",
)
def infer(
    list_path: Path,
    folder: Path | None,
    reading: Reading,
    split: str | None,
    model: Path,
    output: Path,
    on_error: str,
    probabilities: bool,
    embeddings: bool,
    **options: Any,
) -> None:
    """Predict every row of a list.

    LIST is a CSV, JSON Lines or Parquet file with columns for text and image, or a folder: see
    docs/data.md. It may also be a CSV file with the column guid, or - for one from stdin; the pair
    of a guid is then data/GUID.txt and data/GUID.jpg in the dataset folder. If any row or file is
    bad, the command reports every one and writes nothing.
    """
    from mmsent.files.destination import STDOUT, is_stream
    from mmsent.predict.infer import Wanted
    from mmsent.predict.infer import infer as infer_list

    reading = replace(reading, folder=folder, split=split)
    wanted, skip = Wanted(probabilities, embeddings), on_error == "skip"
    counts = infer_list(
        list_path, model, output, reading=reading, wanted=wanted, skip=skip, **options
    )
    streamed = is_stream(output)
    click.echo(f"wrote {'stdout' if output == STDOUT else output}", err=True)
    if counts.failed:
        where = "the lines above say" if streamed else f"{output}.errors.csv says"
        raise MmsentError(
            f"{counts.failed} of {counts.rows} rows could not be predicted; {where} why"
        )


@click.command(
    "predict",
    cls=HelpCommand,
    examples='mmsent predict --text "what a day" --image a.jpg\n'
    "mmsent predict --text - --image a.jpg --explain why.html\n"
    "mmsent predict --text one --image 1.jpg --text two --image 2.jpg --json",
)
@option(
    "--text",
    "texts",
    multiple=True,
    help="The text; - reads it from stdin. Repeat it for several pairs.",
    group="Data",
)
@option(
    "--image",
    "images",
    multiple=True,
    type=FILE,
    help="The image's file. Repeat it for several pairs.",
    group="Data",
)
@BUNDLE
@option("--json", "as_json", is_flag=True, help="Print one line of JSON per pair.", group="Output")
@option(
    "--explain",
    "output",
    metavar="FILE",
    type=FILE,
    help="Also write what moved the pair's prediction to a .html, .png or .json file.",
    group="Output",
)
@option(
    "--grid",
    metavar="N",
    default=7,
    show_default=True,
    help="Explain the image in N x N regions.",
    group="Output",
)
@option(
    "--budget",
    metavar="N",
    default=128,
    show_default=True,
    help="Compute at most N predictions for the explanation.",
    group="Output",
)
@click.pass_context
def predict(
    context: click.Context,
    texts: tuple[str, ...],
    images: tuple[Path, ...],
    model: Path,
    as_json: bool,
    output: Path | None,
    grid: int,
    budget: int,
) -> None:
    """Predict one or more pairs of a text and an image.

    Either may be left out if the bundle was trained for that. With several pairs, the first text
    belongs to the first image.
    """
    from mmsent.predict.explain.output import check_suffix, write_explanation
    from mmsent.predict.infer import check_output_file
    from mmsent.predict.model import SentimentModel

    pairs = _pair_up(_read_stdin(texts), images)
    if output is not None:
        check_suffix(output)
        check_output_file(output, model, *images)
        if len(pairs) > 1:
            raise InputError("--explain explains one pair; name one text and one image")
    for name in ("grid", "budget"):
        if output is None and given(context, name):
            raise InputError(f"--{name} is for an explanation: add --explain FILE")
    opened = SentimentModel(model)
    predictions = _predict(opened, pairs)
    if output is not None:  # before the label is printed: it may refuse the grid or the budget
        write_explanation(opened.explain(*pairs[0], grid=grid, budget=budget), output)
    for prediction in predictions:
        click.echo(_json(prediction) if as_json else _lines(prediction))
    if output is not None:
        click.echo(f"wrote {output}", err=True)


def _predict(model: Any, pairs: Sequence[tuple[str | None, Path | None]]) -> list[Prediction]:
    if len(pairs) == 1:  # without a name, messages name no row
        return [model.predict(*pairs[0])]
    predictions: list[Prediction] = model.predict(*map(list, zip(*pairs)))
    return predictions


def _read_stdin(texts: Sequence[str]) -> list[str]:
    """``texts``, with the content of stdin instead of "-"."""
    if texts.count("-") > 1:
        raise InputError("--text - reads one text from stdin; use it only once")
    if "-" not in texts:
        return list(texts)
    from mmsent.files.bounded import MAX_TEXT_BYTES, within
    from mmsent.inputs.text import decode_text

    data = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
    text, _ = decode_text(within(data, "the text", limit=MAX_TEXT_BYTES))
    return [text if each == "-" else each for each in texts]


def _pair_up(texts: Sequence[str], images: Sequence[Path]) -> list[tuple[str | None, Path | None]]:
    """Raise InputError if there is no pair, or the numbers of texts and images differ."""
    if not texts and not images:
        raise InputError("name a pair: --text TEXT, --image FILE, or both")
    if texts and images and len(texts) != len(images):
        raise InputError(
            f"{len(texts)} of --text and {len(images)} of --image: name as many of each, "
            "or only one kind"
        )
    return list(zip_longest(texts, images))


def _json(prediction: Prediction) -> str:
    return to_json({"label": prediction.label, "probabilities": prediction.probabilities})


def _lines(prediction: Prediction) -> str:
    """On a terminal, a line per label with bars; otherwise one line of tab-separated fields."""
    if not sys.stdout.isatty():
        values = (f"{label}={value:.4f}" for label, value in prediction.probabilities.items())
        return "\t".join([prediction.label, *values])
    width = max(map(len, prediction.probabilities))
    return "\n".join(
        [
            click.style(
                f"{label:{width}} {value:6.1%} {'█' * round(BAR * value)}",
                bold=label == prediction.label,
            )
            for label, value in prediction.probabilities.items()
        ]
    )

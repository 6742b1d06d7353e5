"""The commands `mmsent evaluate` and `mmsent compare`. Heavy modules are imported inside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsent.errors import InputError
from mmsent.files.console import to_json
from mmsent.files.destination import check_folder
from mmsent.help import HelpCommand, option
from mmsent.options import BUNDLE, DATA, DATASET, FILE, reading_options
from mmsent_training.options import COUNT, NEW_FOLDER

if TYPE_CHECKING:
    from mmsent.data.dataset import Reading
    from mmsent_training.evaluation.bundle import Evaluation, Split

SPLITS = click.Choice(["validation", "train", "test", "all"])
LIMIT = option(
    "--limit",
    metavar="N",
    default=100,
    show_default=True,
    type=COUNT,
    help="The largest number of pairs in a section of the page.",
    group="Output",
)
JSON = option("--json", "as_json", is_flag=True, help="Print everything as JSON.", group="Output")


@click.command(
    cls=HelpCommand,
    examples="mmsent evaluate --model model.onnx --data posts.csv\n"
    "mmsent evaluate --split all --json\n"
    "mmsent evaluate --by language --errors errors.html --output predictions.csv",
)
@BUNDLE
@DATA
@reading_options
@option(
    "--split",
    type=SPLITS,
    help="Which pairs: those that the bundle was validated or trained on, recognised by their "
    "contents; the dataset's test split; or all that have a label.  [default: validation if the "
    "dataset has those pairs, otherwise all]",
    group="Data",
)
@option(
    "--by",
    "column",
    metavar="COLUMN",
    help="Also score each group of pairs that has the same value in this column of the list.",
    group="Output",
)
@JSON
@option(
    "--output",
    type=FILE,
    help="Write each pair's true label, predicted label and probabilities to this CSV file.",
    group="Output",
)
@option(
    "--errors",
    metavar="FILE.html",
    type=FILE,
    help="Write the most confident wrong predictions to this page, with texts and images.",
    group="Output",
)
@LIMIT
@option(
    "--pictures",
    type=NEW_FOLDER,
    help="Write confusion.png, reliability.png and coverage.png to this folder.",
    group="Output",
)
def evaluate(
    model: Path,
    data: Path,
    reading: Reading,
    split: Split | None,
    column: str | None,
    as_json: bool,
    pictures: Path | None,
    **files: Any,
) -> None:
    """Measure how good a bundle is on labelled pairs.

    The command reports accuracy, F1, calibration and their intervals, and the accuracy of the most
    confident predictions. If the bundle was trained on some of the pairs, it reports how many, and
    the figures without them.
    """
    from mmsent_training.evaluation.bundle import evaluate_bundle
    from mmsent_training.evaluation.groups import (
        check_column,
        describe_groups,
        read_column,
        score_groups,
    )
    from mmsent_training.evaluation.metrics import describe
    from mmsent_training.evaluation.selective import coverage_curve, describe_coverage, tenths

    _check_names(files["output"], files["errors"], model, data)
    if pictures is not None:
        check_folder(pictures)
    if column is not None:
        check_column(data, column, reading=reading)
    result = evaluate_bundle(model, data, split, reading=reading)
    labels, probabilities = result.examples.labels, result.probabilities
    curve = coverage_curve(labels, probabilities)
    groups = None
    if column is not None:
        values = read_column(data, column, result.examples.pairs, reading=reading)
        groups = score_groups(labels, probabilities.argmax(axis=1), values)
    if pictures is not None:
        from mmsent_training.pictures import write_coverage, write_scores

        pictures.mkdir(parents=True, exist_ok=True)
        write_scores(pictures, result.scores)
        write_coverage(pictures, curve)
    _write(result, **files)
    if as_json:
        others = {
            "split": result.split,
            "overlap": result.overlap and asdict(result.overlap),
            "coverage": [asdict(point) for point in tenths(curve)],
        }
        if groups is not None:
            others["by"] = {"column": column, "groups": [asdict(group) for group in groups]}
        click.echo(to_json(asdict(result.scores) | others))
        return
    click.echo(f"{describe(result.scores)}\n\n{describe_coverage(curve)}")
    if column is not None and groups is not None:
        click.echo(f"\n{describe_groups(column, groups)}")
    if result.overlap:
        click.echo(f"\n{result.overlap}")


def _check_names(output: Path | None, errors: Path | None, *inputs: Path) -> None:
    """Raise InputError before the work if an output has a wrong name."""
    from mmsent.predict.infer import check_output_file
    from mmsent_training.evaluation.page import check_page_name

    if output is not None:
        if output.suffix.lower() != ".csv":
            raise InputError(f"{output}: --output writes a file that ends in .csv")
        check_output_file(output, *inputs)
    if errors is not None:
        check_page_name(errors)
        check_output_file(errors, *inputs)


def _write(result: Evaluation, output: Path | None, errors: Path | None, limit: int) -> None:
    """Write the requested files, and name them."""
    from mmsent_training.evaluation.mistakes import write_mistakes
    from mmsent_training.evaluation.predictions import write_predictions

    if output is not None:
        examples = result.examples
        guids = [pair.guid for pair in examples.pairs]
        write_predictions(
            output, guids, examples.labels, result.probabilities, examples.label_names
        )
        click.echo(f"wrote {output}", err=True)
    if errors is not None:
        write_mistakes(errors, result, limit)
        click.echo(f"wrote {errors}", err=True)


@click.command(
    cls=HelpCommand,
    examples="mmsent compare runs/light runs/compact --output compare.html\n"
    "mmsent compare light.onnx compact.onnx --data posts.csv --split test\n"
    "mmsent compare one.csv another.csv --data posts.csv --json",
)
@click.argument(
    "paths", metavar="A B ...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@option(
    "--data",
    type=DATASET,
    help="The labelled dataset, a folder or a list: see docs/data.md.  [default: that of the "
    "first run; without runs, this folder]",
    group="Data",
)
@reading_options
@option(
    "--split",
    type=SPLITS,
    help="Which pairs to score bundles on, as for `mmsent evaluate`.  [default: the pairs of the "
    "runs and files of predictions; without those, as for `mmsent evaluate`]",
    group="Data",
)
@JSON
@option(
    "--output",
    metavar="FILE.html",
    type=FILE,
    help="Write a page with the results, and with the pairs that some get right and others wrong.",
    group="Output",
)
@LIMIT
def compare(
    paths: tuple[Path, ...],
    data: Path | None,
    reading: Reading,
    split: Split | None,
    as_json: bool,
    output: Path | None,
    limit: int,
) -> None:
    """Compare models on the same pairs.

    A, B and so on are runs, bundles, or CSV files of predictions. A run has predictions for its
    validation pairs; a bundle is scored on --data. A file comes from `mmsent-infer`, with true
    labels from --data, or from `mmsent evaluate --output`. The command reports the scores, the
    differences with paired intervals, McNemar's test, and which settings and data differ.
    """
    from mmsent_training.evaluation.comparison.compare import align, to_dict
    from mmsent_training.evaluation.comparison.compare import compare as compare_all
    from mmsent_training.evaluation.comparison.contenders import read_contenders
    from mmsent_training.evaluation.comparison.page import write_comparison
    from mmsent_training.evaluation.comparison.text import describe

    _check_names(None, output, *paths)
    contenders, source = read_contenders(paths, data, split, reading)
    aligned = align(contenders)
    comparison = compare_all(aligned)
    if output is not None:
        write_comparison(output, comparison, aligned, source, limit)
        click.echo(f"wrote {output}", err=True)
    click.echo(to_json(to_dict(comparison)) if as_json else describe(comparison))

"""Users' own data from check to evaluation, without a conversion step."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from mmsent import SentimentModel

from ..command import Command
from ..conftest import MakeOnce
from ..layouts import LAYOUTS, Row, drawn, task_folder

SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "two": ("imagefolder", ("fine", "hateful")),
    "numbers": ("JSON lines", ("-1", "0", "0.5", "2", "10", "100")),
    "Chinese": ("Parquet", ("C++", "仇恨", "非仇恨")),
    "like columns": ("CSV", ("$a_b$", "NA", "None", "error", "guid", "nan", "predicted", "tag")),
    "forty": ("TSV", tuple(f"class {number}" for number in range(10, 50))),
}
"""Sets of labels, each in the order that a run has them, and in one of the layouts."""
OPTIONS = {"JSON lines": ("--columns", "guid=id,image=img")}  # as in Hateful Memes


@dataclass(frozen=True)
class Case:
    """Training and validation pairs in a layout, with their run and bundle.

    ``task`` is the task's list of the validation pairs, ``held_out``. ``predicted`` are the
    predictions for them in this layout, with the header.
    """

    labels: tuple[str, ...]
    options: tuple[str, ...]
    data: Path
    validation: Path
    task: Path
    run: Path
    bundle: Path
    held_out: list[Row]
    predicted: list[list[str]]


@pytest.fixture(
    scope="session",
    params=[
        name if name in ("two", "numbers") else pytest.param(name, marks=pytest.mark.slow)
        for name in SETS
    ],
)
def case(request: pytest.FixtureRequest, make_once: MakeOnce, run_command: Command) -> Case:
    """One training per set of labels. Its files are read-only."""
    name: str = request.param
    layout, labels = SETS[name]
    options = OPTIONS.get(layout, ())

    def fill(folder: Path) -> None:
        rows = drawn(folder / "drawn", labels[::-1], pairs=80)
        paths = [
            LAYOUTS[layout](folder / part, some).relative_to(folder)
            for part, some in (("train", rows[:40]), ("dev", rows[40:]))
        ]
        task_folder(folder / "task", rows[40:])
        (folder / "case.json").write_text(
            json.dumps([*map(str, paths), [(row.guid, row.label) for row in rows[40:]]])
        )
        for command in (
            ("mmsent", "train", "--data", paths[0], "--validation", paths[1], *options,
             "--model", "light", "--epochs", 1, "--output", "run"),
            ("mmsent-export", "onnx", "run", "--output", "model.onnx"),
            ("mmsent-infer", paths[1], "--output", "out.csv", "--probabilities", *options),
        ):  # fmt: skip
            done = run_command(*command, cwd=folder)
            assert done.code == 0, done.err

    folder = make_once(f"any data, {name}", fill)
    data, validation, held_out = json.loads((folder / "case.json").read_text())
    return Case(
        labels,
        options,
        folder / data,
        folder / validation,
        folder / "task" / "train.txt",
        folder / "run",
        folder / "model.onnx",
        [Row(guid, None, None, label) for guid, label in held_out],
        read_csv(folder / "out.csv"),
    )


def read_csv(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.reader(file)]


def predict(run: Command, case: Case, path: Path, output: Path) -> None:
    options = case.options if path != case.task else ()
    done = run(
        "mmsent-infer", path, "--model", case.bundle, "--output", output, "--probabilities",
        *options, cwd=output.parent,
    )  # fmt: skip
    assert done.code == 0, done.err


def columns(labels: tuple[str, ...], *taken: str) -> list[str]:
    """The columns of the labels; a name that is taken gets an underscore."""
    return [f"{label}_" if label in taken else label for label in labels]


def test_the_check_finds_the_labels_and_no_problem(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    done = run_command(
        "mmsent", "check-data", "--data", case.data, "--validation", case.validation,
        *case.options, "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    check = json.loads(done.out)
    expected = Counter(row.label for row in case.held_out)
    assert list(check["validation_labels"].items()) == [(x, expected[x]) for x in case.labels]
    assert tuple(check["labels"]) == case.labels


def test_the_run_has_the_labels(case: Case) -> None:
    record = json.loads((case.run / "run.json").read_text())
    assert tuple(record["labels"]) == tuple(record["metrics"]["classes"]) == case.labels
    assert np.shape(record["metrics"]["confusion"]) == (len(case.labels), len(case.labels))
    assert record["model"]["lexicon"] is False
    report = (case.run / "report.md").read_text()
    assert all(f"{label}  " in report for label in case.labels)


def test_validation_predictions_have_a_column_for_each_label(case: Case) -> None:
    header, *rows = read_csv(case.run / "validation_predictions.csv")
    taken = ("guid", "tag", "predicted")
    assert header == [*taken, *columns(case.labels, *taken)]
    assert [tag for _, tag, *_ in rows] == [row.label for row in case.held_out]
    for _, _, predicted, *numbers in rows:
        assert case.labels[np.argmax([float(number) for number in numbers])] == predicted
        assert sum(map(float, numbers)) == pytest.approx(1, abs=1e-4)


def test_predictions_are_the_same_in_every_layout(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    header, *rows = case.predicted
    predict(run_command, case, case.task, tmp_path / "task.csv")
    same_header, *same = read_csv(tmp_path / "task.csv")
    assert header == same_header == ["guid", "tag", *columns(case.labels, "guid", "tag")]
    assert [Path(guid).stem for guid, *_ in rows] == [row.guid for row in case.held_out]
    assert [rest for _, *rest in rows] == [rest for _, *rest in same]
    for _, tag, *numbers in rows:
        assert case.labels[np.argmax([float(number) for number in numbers])] == tag


def test_parquet_and_csv_have_the_same_values(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    header, *rows = case.predicted
    predict(run_command, case, case.validation, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == header
    columns = [table.column(name).to_pylist() for name in header]
    assert [list(row) for row in zip(*columns[:2])] == [row[:2] for row in rows]
    numbers = np.array([row[2:] for row in rows], float)
    assert np.transpose(columns[2:]) == pytest.approx(numbers)


def test_the_evaluation_scores_these_predictions(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    _, *rows = case.predicted
    done = run_command(
        "mmsent", "evaluate", "--model", case.bundle, "--data", case.validation, *case.options,
        "--split", "all", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    tags, guesses = [row.label for row in case.held_out], [row[1] for row in rows]
    assert scores["accuracy"] == pytest.approx(np.mean(np.array(tags) == guesses))
    for average in ("macro", "weighted"):
        wanted = f1_score(tags, guesses, labels=case.labels, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(wanted)
    assert tuple(scores["classes"]) == SentimentModel(case.bundle).labels == case.labels
    assert scores["overlap"]["pairs"] == 0
    assert scores["overlap"]["validated"] == len(rows)

"""Anyone's data, from the check to the evaluation, without a step in between that converts it."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmsent.data.labels import order_labels

from ..command import Command
from ..conftest import MakeOnce
from ..layouts import LABELS, LAYOUTS, Row, drawn, task_folder

LAYOUT_OF = {
    "two": "imagefolder",
    "six": "CSV",
    "forty": "TSV",
    "numbers": "JSON lines",
    "Chinese": "Parquet",
}
"""Each set of labels in one of the layouts."""
OPTIONS = {"JSON lines": ("--columns", "guid=id,image=img")}  # as for Hateful Memes


@dataclass(frozen=True)
class Case:
    """Pairs to train on and to validate on in a layout, and a bundle that was trained on them.

    ``task``: the task's list of the pairs to validate on, ``held_out``.
    """

    labels: tuple[str, ...]
    options: tuple[str, ...]
    data: Path
    validation: Path
    task: Path
    bundle: Path
    held_out: list[Row]


@pytest.fixture(scope="session", params=LAYOUT_OF)
def case(request: pytest.FixtureRequest, make_once: MakeOnce, run_command: Command) -> Case:
    """One training for each set of labels. Its files are not to be changed."""
    name: str = request.param
    layout = LAYOUT_OF[name]
    options = OPTIONS.get(layout, ())

    def fill(folder: Path) -> None:
        rows = drawn(folder / "drawn", LABELS[name], pairs=80)
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
        ):  # fmt: skip
            done = run_command(*command, cwd=folder)
            assert done.code == 0, done.err

    folder = make_once(f"any data, {name}", fill)
    data, validation, held_out = json.loads((folder / "case.json").read_text())
    return Case(
        order_labels(LABELS[name]),
        options,
        folder / data,
        folder / validation,
        folder / "task" / "train.txt",
        folder / "model.onnx",
        [Row(guid, None, None, label) for guid, label in held_out],
    )


def predict(run: Command, case: Case, path: Path, output: Path) -> list[list[str]]:
    """The rows of a list's predictions with their probabilities, first the header."""
    options = case.options if path != case.task else ()
    done = run(
        "mmsent-infer", path, "--model", case.bundle, "--output", output, "--probabilities",
        *options, cwd=output.parent,
    )  # fmt: skip
    assert done.code == 0, done.err
    with open(output, newline="", encoding="utf-8") as file:
        return [*csv.reader(file)]


def test_the_check_finds_the_labels_and_nothing_wrong(
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


def test_predictions_are_those_of_the_same_pairs_in_the_tasks_folder(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    header, *rows = predict(run_command, case, case.validation, tmp_path / "theirs.csv")
    same_header, *same = predict(run_command, case, case.task, tmp_path / "task.csv")
    assert header == same_header == ["guid", "tag", *case.labels]
    assert [Path(guid).stem for guid, *_ in rows] == [row.guid for row in case.held_out]
    assert [rest for _, *rest in rows] == [rest for _, *rest in same]


def test_the_evaluation_scores_these_predictions(
    case: Case, run_command: Command, tmp_path: Path
) -> None:
    _, *rows = predict(run_command, case, case.validation, tmp_path / "out.csv")
    done = run_command(
        "mmsent", "evaluate", "--model", case.bundle, "--data", case.validation, *case.options,
        "--split", "all", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    right = sum(tag == row.label for (_, tag, *_), row in zip(rows, case.held_out))
    assert scores["accuracy"] == pytest.approx(right / len(rows))
    assert tuple(scores["classes"]) == case.labels
    assert scores["overlap"]["pairs"] == 0
    assert scores["overlap"]["validated"] == len(rows)

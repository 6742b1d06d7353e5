"""`mmsent evaluate`, against scikit-learn over what mmsent-infer predicts."""

import csv
import json

import pytest
from sklearn.metrics import accuracy_score, f1_score

from mmsent.dataset import TRAIN_LIST, read_list


@pytest.mark.parametrize("part", ["validation", "train", "all"])
def test_the_scores_of_a_part(run_command, bundle, trained, sample, tmp_path, part):
    arguments = ("--model", bundle, "--data", sample, "--split", part, "--json")
    result = run_command("mmsent", "evaluate", *arguments, cwd=tmp_path)
    assert result.code == 0, result.err
    run_command("mmsent-infer", sample / TRAIN_LIST, "--model", bundle, cwd=tmp_path)
    with open(tmp_path / "submission.csv", newline="") as file:
        predicted = {row["guid"]: row["tag"] for row in csv.DictReader(file)}
    with open(trained / "validation_predictions.csv", newline="") as file:
        held_out = {row["guid"] for row in csv.DictReader(file)}
    rows = [
        row
        for row in read_list(sample / TRAIN_LIST, [])
        if part == "all" or (row.guid in held_out) == (part == "validation")
    ]
    tags, guesses = [row.label for row in rows], [predicted[row.guid] for row in rows]
    scores = json.loads(result.out)
    assert scores["pairs"] == len(rows)
    assert scores["accuracy"] == pytest.approx(accuracy_score(tags, guesses))
    assert scores["macro_f1"] == pytest.approx(f1_score(tags, guesses, average="macro"))


def test_people_see_a_table(run_command, bundle, sample):
    result = run_command("mmsent", "evaluate", "--model", bundle, "--data", sample, cwd=sample)
    assert "precision  recall      f1  support" in result.out
    assert "8 pairs" in result.out

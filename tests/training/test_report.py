"""A run's report on the data, the baseline and the settings."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mmsent_training.runs.report import used_settings
from mmsent_training.settings import Settings

from ..command import Command


def test_repeats_contradictions_and_both_lists_are_in_the_report(
    run_command: Command, tmp_path: Path
) -> None:
    rows = [f"a text number {i},{'yes' if i % 2 else 'no'}" for i in range(12)]
    extra = ["a text number 3,yes", "a text number 4,yes"]  # repeated; repeated with another label
    head = "text,label"
    (tmp_path / "train.csv").write_text("\n".join([head, *rows, *extra]) + "\n")
    (tmp_path / "dev.csv").write_text("\n".join([head, rows[0], "\u4e2d\u6587\u5b57,yes"]) + "\n")
    done = run_command(
        "mmsent", "train", "--data", "train.csv", "--validation", "dev.csv", "--modality", "text",
        "--model", "light", "--epochs", 1, "--output", "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = (tmp_path / "run" / "report.md").read_text()
    lists = (tmp_path / name for name in ("train.csv", "dev.csv"))
    assert "validated on 2,\nfrom `{}` and `{}`".format(*lists) in report
    assert "| text alone | 6 | 1 |" in report
    assert "a training pair has the same text; it is train.csv line 2" in report
    assert "the same text has other labels; no here, 14 (yes)" in report


def settings_in(report: Path) -> set[str]:
    """The names in the report's table of settings."""
    table = report.read_text().rpartition("| setting | value |\n| --- | --- |\n")[2]
    return set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE))


def test_the_report_lists_the_settings_that_had_an_effect(trained: Path) -> None:
    """For light, trained on both modalities and keeping its last epoch."""
    every = {field.name for field in fields(Settings)}
    unused = {"encoder_learning_rate", "patience", "options"}
    assert settings_in(trained / "report.md") == every - unused


@pytest.mark.parametrize(
    ("changes", "pretrained", "drawn", "unused"),
    [
        ({"keep": "best"}, True, True, set()),
        ({"keep": "last"}, True, True, {"patience"}),
        ({"augment": False}, True, True, {"color_jitter"}),
        ({"modality": "text"}, True, True, {"augment", "color_jitter", "modality_dropout"}),
        ({"modality": "image"}, True, True, {"group_by_length", "max_length", "modality_dropout"}),
        ({}, False, True, {"encoder_learning_rate"}),
        ({}, True, False, {"validation_fraction", "split_seed"}),
    ],
)
def test_settings_without_effect_are_left_out(
    changes: dict[str, object], pretrained: bool, drawn: bool, unused: set[str]
) -> None:
    settings = Settings(model="any", options={"freeze": True}, **changes)  # type: ignore[arg-type]
    used = used_settings(settings, pretrained=pretrained, drawn=drawn)
    every = {field.name for field in fields(Settings)} - {"options"}
    assert every - used.keys() == unused
    assert used["freeze"] is True


def test_the_report_begins_with_the_baseline(trained: Path) -> None:
    head = (trained / "report.md").read_text().partition("## Validation")[0]
    assert re.search(
        r"The majority baseline, which always\npredicts (negative|neutral|positive): 0", head
    )

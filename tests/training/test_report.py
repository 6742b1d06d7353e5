"""What a run's report says of the data."""

from pathlib import Path

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
    assert "validated on\n2, of `{}` and `{}`".format(*lists) in report
    assert "| text alone | 6 | 1 |" in report
    assert "a training pair has the same text; it is train.csv line 2" in report
    assert "the same text has other labels; no here, 14 (yes)" in report

"""runs/latest: its target, failures that are not fatal, and unusual paths of runs."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mmsent_training.models import registry
from mmsent_training.runs.latest import follow_latest, point_latest
from mmsent_training.runs.resume import read_start
from mmsent_training.train import train as train_model


def train(run_command, data, cwd, *options):
    return run_command(
        "mmsent", "train", "--model", "light", "--epochs", 1, "--data", data, *options, cwd=cwd
    )


def refuse_links(monkeypatch):
    """As on SMB, and on Windows without the privilege."""

    def symlink(*arguments, **options):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "symlink", symlink)


def test_without_links_it_is_a_text_file(run_command, few, tmp_path, monkeypatch):
    refuse_links(monkeypatch)
    result = train(run_command, few, tmp_path)
    assert result.code == 0, result.err
    latest = tmp_path / "runs" / "latest"
    assert latest.is_file()
    assert latest.read_text() in {path.name for path in latest.parent.iterdir()}
    for arguments in (
        ["mmsent", "train", "--resume", "runs/latest"],
        ["mmsent-export", "onnx"],
        ["mmsent", "compare", "runs/latest", "model.onnx"],
    ):
        result = run_command(*arguments, cwd=tmp_path)
        assert result.code == 0, result.err
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize("before", ["link", "text", "folder"])
@pytest.mark.parametrize("links", [True, False])
def test_it_never_stops_a_training(tmp_path, monkeypatch, caplog, before, links):
    """A file in its place is replaced or, if that fails, kept; the training continues."""
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        Path("runs", name).mkdir(parents=True)
    latest = Path("runs", "latest")
    if before == "link":
        latest.symlink_to("old")
    elif before == "text":
        latest.write_text("old")
    else:
        latest.mkdir()
    if not links:
        refuse_links(monkeypatch)
    point_latest(Path("runs", "new"))
    if before == "folder":
        assert "runs/latest can't point to runs/new" in caplog.text
    else:
        assert follow_latest(latest).resolve() == Path("runs", "new").resolve()
        assert not caplog.messages
    assert {path.name for path in Path("runs").iterdir()} == {"old", "new", "latest"}


@pytest.mark.parametrize("content", ["", "gone", "\0", "x" * 5000])
def test_a_file_without_the_name_of_a_run(run_command, tmp_path, content):
    (tmp_path / "latest").write_text(content)
    result = run_command("mmsent-export", "onnx", "latest", cwd=tmp_path)
    assert result.code == 2
    assert "latest is not a finished run" in result.err


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_the_data_is_checked_before_the_weights(run_command, tmp_path, monkeypatch, command):
    monkeypatch.setattr(registry, "choose", lambda *_: pytest.fail("the weights came first"))
    result = run_command("mmsent", command, cwd=tmp_path)
    assert result.code == 2
    assert "contains no dataset: neither train.txt nor test_without_label.txt" in result.err
    assert len(result.err.splitlines()) == 2, "and what to do"


def test_a_dataset_whose_path_is_not_utf8(run_command, few, tmp_path):
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(few, data)
    result = train(run_command, data, tmp_path, "--output", data / "run")
    assert result.code == 0, result.err
    assert "/caf\ufffd`" in (data / "run" / "report.md").read_text(encoding="utf-8")
    record = json.loads((data / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["dataset"]["path"] == str(data.resolve())  # the export finds it again
    result = run_command("mmsent-export", "onnx", data / "run", cwd=data)
    assert result.code == 0, result.err
    assert "validation pairs" in result.err
    result = run_command("mmsent-infer", "test_without_label.txt", cwd=data)
    assert result.code == 0, result.err
    assert run_command("mmsent", "evaluate", "--data", data, cwd=data).code == 0


def test_an_unfinished_run_whose_path_is_not_utf8(run_command, few, tmp_path):
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(few, data)
    settings = registry.default_settings("light", "cpu", epochs=2)

    def stop(event):
        if event.kind == "saved":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(data, settings, registry.choose("light", {}), data / "run", callback=stop)
    assert read_start(data / "run").data.path == data.resolve()
    result = run_command("mmsent", "train", "--resume", data / "run", cwd=tmp_path)
    assert result.code == 0, result.err
    assert "resuming after epoch 1" in result.err

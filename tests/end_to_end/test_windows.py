"""The main commands on a system that behaves like Windows: see imitations/windows.py."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsent.data.folder import TEST_LIST, image_file

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")

WINDOWS = Path(__file__).parent / "imitations" / "windows.py"
FOLDER = "资料"  # characters that cp1252 lacks


def run(cwd, *commands):
    """Run commands, check each exit code, and return what they print."""
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", WINDOWS, json.dumps(commands)],
        cwd=cwd,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="cp1252",
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def names(folder):
    return {path.name for path in folder.iterdir()}


def table(path):
    return list(csv.reader(path.read_text().splitlines()))


@pytest.mark.slow
def test_from_data_to_predictions(tmp_path):
    list_path = f"{FOLDER}/{TEST_LIST}"
    out, err = run(
        tmp_path,
        [0, "mmsent", "sample-data", FOLDER, "--pairs", "60"],
        [0, "mmsent", "check-data", "--data", FOLDER],
        [0, "mmsent", "check-data", "--data", FOLDER, "--json"],
        [0, "mmsent", "train", "--model", "light", "--epochs", "2", "--data", FOLDER],
        [0, "mmsent", "train", "--resume", "runs/latest"],
        [0, "mmsent-export", "onnx"],
        [0, "mmsent-export", "onnx"],  # replaces the previous one
        [0, "mmsent-infer", list_path, "--output", "new/out.csv"],
        [0, "mmsent-infer", list_path, "--output", "new/out.csv", "--on-error", "skip"],
        [0, "mmsent-infer", list_path, "--output", "new/out.parquet", "--probabilities"],
        [0, "mmsent", "pack", FOLDER, "packed.parquet"],
        [0, "mmsent", "evaluate", "--data", FOLDER, "--pictures", "pictures"],
    )
    assert r"nothing is wrong with \u8d44\u6599" in out
    assert f'"folder": {json.dumps(FOLDER)}' in out
    assert "is finished\nNext: mmsent-export" in err
    assert names(tmp_path) == {
        FOLDER, "runs", "model.onnx", "new", "packed.parquet", "pictures"
    }  # fmt: skip
    (run_folder,) = names(tmp_path / "runs") - {"latest"}
    assert (tmp_path / "runs" / "latest").read_text() == run_folder
    assert "report.md" in names(tmp_path / "runs" / run_folder)
    assert not {name for name in names(tmp_path / "runs" / run_folder) if name.startswith(".")}
    assert names(tmp_path / "new") == {"out.csv", "out.parquet"}
    assert table(tmp_path / "new" / "out.csv")[0] == ["guid", "tag"]


def test_a_failure_leaves_no_file_open(sample, bundle, tmp_path):
    """Windows can't delete an open file, so partial files would be left behind."""
    rows = (sample / TEST_LIST).read_text().splitlines()
    for row in rows[1:]:
        guid = row.split(",")[0]
        for path in (sample / "data" / f"{guid}.txt", Path(image_file(sample, guid))):
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    os.truncate(image_file(tmp_path, rows[3].split(",")[0]), 200)
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "out.csv").write_text("of yesterday")
    infer = ["mmsent-infer", "list.csv", "--model", str(bundle), "--output", "out.csv"]
    _, err = run(tmp_path, [2, *infer])
    assert "1 problem in the data; out.csv was not written" in err
    assert (tmp_path / "out.csv").read_text() == "of yesterday"
    assert names(tmp_path) == {"data", "list.csv", "out.csv"}
    run(tmp_path, [1, *infer, "--on-error", "skip"])
    assert names(tmp_path) == {"data", "list.csv", "out.csv", "out.csv.errors.csv"}
    assert len(table(tmp_path / "out.csv")) == len(rows) - 1

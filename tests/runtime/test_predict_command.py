"""`mmsent predict`: pairs on the command line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmsent import SentimentModel

from ..small_bundle import write_small_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle that accepts missing parts, one that does not, and two images."""
    folder = tmp_path_factory.mktemp("predict")
    write_small_bundle(folder / "model.onnx", optional=("text", "image"))
    write_small_bundle(folder / "strict.onnx")
    for name, value in (("dark", 10), ("bright", 250)):
        Image.fromarray(np.full((9, 7, 3), value, np.uint8)).save(folder / f"{name}.png")
    return folder


def wanted(folder, text, image):
    model = SentimentModel(folder / "model.onnx", threads=1)
    return model.predict(text, folder / image if image else None)


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        (["--text", "fun", "--image", "dark.png"], [("fun", "dark.png")]),
        (["--image", "dark.png"], [(None, "dark.png")]),
        (["--text", "rain"], [("rain", None)]),
        (["--text", "rain", "--text", "fun"], [("rain", None), ("fun", None)]),
        (
            ["--text", "a", "--text", "rain", "--image", "dark.png", "--image", "bright.png"],
            [("a", "dark.png"), ("rain", "bright.png")],
        ),
    ],
)
def test_it_prints_what_the_model_predicts(run_command, folder, arguments, pairs):
    """As JSON, and as lines for other programs."""
    as_json = run_command("mmsent", "predict", *arguments, "--json", cwd=folder)
    plain = run_command("mmsent", "predict", *arguments, cwd=folder)
    assert (as_json.code, plain.code) == (0, 0)
    for pair, line, row in zip(
        pairs, as_json.out.splitlines(), plain.out.splitlines(), strict=True
    ):
        prediction = wanted(folder, *pair)
        found = json.loads(line)
        assert found["label"] == prediction.label
        assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)
        label, *values = row.split("\t")
        assert label == prediction.label
        shown = {name: float(value) for name, value in (each.split("=") for each in values)}
        assert shown == pytest.approx(prediction.probabilities, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a pair"),
        (["--text", "a", *["--image", "dark.png"] * 2], "1 of --text and 2 of --image"),
        (["--text", "-", "--text", "-"], "use it only once"),
        (["--text", "a", "--image", "gone.png"], "gone.png"),
        (["--text", "a", "--model", "gone.onnx"], "gone.onnx does not exist"),
        (["--text", "a", "--model", "strict.onnx"], "the pair has no image"),
        (["--image", "dark.png", "--model", "strict.onnx"], "the pair has no text"),
        (["--text", "a", "--explain", "why.pdf"], "must end in .html, .png, .json"),
        (["--image", "dark.png", "--explain", "dark.png"], "dark.png is also an input"),
        (["--text", "a", "--text", "b", "--explain", "why.png"], "explains one pair"),
        (["--text", "a", "--explain", "why.png", "--budget", "3"], "the budget must be at least 8"),
        (["--image", "dark.png", "--explain", "why.png", "--grid", "99"], "the grid must be 1 to"),
        (["--text", "a", "--grid", "5"], "--grid is for an explanation: add --explain FILE"),
        (["--text", "a", "--budget", "9"], "--budget is for an explanation"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_message(run_command, folder, arguments, message):
    result = run_command("mmsent", "predict", *arguments, cwd=folder)
    assert result.code == 2
    assert message in result.err
    assert not result.out
    assert not list(folder.glob("why*"))


@pytest.mark.parametrize("name", ["why.html", "why.png", "why.json"])
def test_it_explains(run_command, folder, tmp_path, name):
    pair = ["--text", "rain", "--image", folder / "dark.png"]
    arguments = [*pair, "--model", folder / "model.onnx", "--explain", name, "--grid", 2]
    result = run_command("mmsent", "predict", *arguments, cwd=tmp_path)
    assert result.code == 0
    assert result.err == f"wrote {name}\n"
    assert result.out.startswith("n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith(".json"):
        content = json.loads((tmp_path / name).read_text(encoding="utf-8"))
        assert len(content["regions"]) == 2
        assert [word["text"] for word in content["words"]] == ["rain"]


def test_a_text_from_stdin(folder):
    """Decoded like a text file, here from GB18030 with a newline."""
    done = subprocess.run(
        [sys.executable, "-m", "mmsent", "predict", "--text", "-", "--image", "dark.png", "--json"],
        cwd=folder, input="rain 今\n".encode("gb18030"), capture_output=True, check=True,
    )  # fmt: skip
    prediction = wanted(folder, "rain 今", "dark.png")
    found = json.loads(done.stdout)["probabilities"]
    assert found == pytest.approx(prediction.probabilities, abs=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_bars_on_a_terminal(folder):
    import pty

    ours, theirs = pty.openpty()
    arguments = [
        sys.executable,
        "-m",
        "mmsent",
        "predict",
        "--text",
        "rain",
        "--image",
        "bright.png",
    ]
    with subprocess.Popen(arguments, cwd=folder, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 1024):
                shown += chunk
        except OSError:  # Linux's error if the other end is closed
            pass
        assert process.wait() == 0
    os.close(ours)
    lines = shown.decode().splitlines()
    prediction = wanted(folder, "rain", "bright.png")
    assert len(lines) == 3
    for line, (label, value) in zip(lines, prediction.probabilities.items(), strict=True):
        assert label in line
        assert f"{value:.1%}" in line
        assert line.count("█") == round(30 * value)

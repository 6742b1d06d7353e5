"""The documents hold what benchmarks/results/ says. Nothing is measured."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
CHANGED = ["README.md", "docs/benchmarks.md", "docs/speed.svg"]


def check(root):
    """What `figures.py --check` prints of a checkout, and its exit code."""
    command = [sys.executable, ROOT / "benchmarks" / "figures.py", "--check", "--root", root]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout, done.returncode


@pytest.fixture
def copy(tmp_path):
    """A copy of all that figures.py reads."""
    shutil.copy(ROOT / "README.md", tmp_path)
    for folder in ("docs", "benchmarks/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_the_documents_are_up_to_date():
    assert check(ROOT) == ("", 0)


def test_a_new_result_makes_the_documents_stale_that_show_it(copy):
    path = copy / "benchmarks/results/inference-light.json"
    result = json.loads(path.read_text())
    result["figures"]["sides"]["mmsent fp32"]["pairs_per_second"] += 1000
    path.write_text(json.dumps(result))
    said, code = check(copy)
    assert code == 1
    assert said.splitlines() == [f"{name} is stale: run make figures" for name in CHANGED]


@pytest.mark.parametrize("name", ["README.md", "docs/accuracy.md", "docs/scale.md"])
def test_a_figure_changed_by_hand_is_found(copy, name):
    document = copy / name
    text = document.read_text(encoding="utf-8")
    start = text.index("<!-- figures: ")
    changed = re.sub(r"\d", lambda digit: str(9 - int(digit[0])), text[start:], count=1)
    document.write_text(text[:start] + changed, encoding="utf-8")
    assert check(copy) == (f"{name} is stale: run make figures\n", 1)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_says_where_it_comes_from(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result.keys() == {"command", "commit", "date", "machine", "versions", "figures"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert re.fullmatch(r"[0-9a-f]{7,}", result["commit"])  # not "-dirty"
    assert result["machine"].keys() == {"processor", "instructions", "cores"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_names_no_folder_of_the_machine(path):
    assert re.findall(r"(?<![\w.])/\w+/\S*|~/\S*|[A-Z]:\\\S*", path.read_text()) == []

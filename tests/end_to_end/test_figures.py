"""The documents agree with benchmarks/results/. Nothing is measured."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
CHANGED = ["README.md", "docs/benchmarks.md", "docs/precision.md", "docs/speed.svg"]


def check(root):
    """Run `figures.py --check` on a checkout and return its output and exit code."""
    command = [sys.executable, ROOT / "benchmarks" / "figures.py", "--check", "--root", root]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout, done.returncode


def write(root):
    """Run figures.py to write the documents of a checkout."""
    command = [sys.executable, ROOT / "benchmarks" / "figures.py", "--root", root]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def copy(tmp_path):
    """A copy of everything that figures.py reads."""
    shutil.copy(ROOT / "README.md", tmp_path)
    for folder in ("docs", "benchmarks/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_the_documents_are_up_to_date():
    assert check(ROOT) == ("", 0)


def test_a_new_result_makes_its_documents_stale(copy):
    path = copy / "benchmarks/results/inference-light.json"
    result = json.loads(path.read_text())
    result["figures"]["sides"]["mmsent fp32"]["pairs_per_second"] += 1000
    path.write_text(json.dumps(result))
    said, code = check(copy)
    assert code == 1
    assert said.splitlines() == [f"{name} is stale: run make figures" for name in CHANGED]


AREA = {"pairs": 3, "explained": 0.1, "random": 0.3, "difference": 0.2, "interval": [0.1, 0.25]}
BY_HAND = {"by_hand": 60.0, "by_hand_p99_ms": 50.0, "by_hand_cpu_ms": 7.0}
HITS = {"decided": 8, "found": 6}
RATES = {"infer": 100.0, "served": 90.0}
SECONDS = {"command": 1.5, "decoding": 1.0, "ratio": 1.5}
PROFILE = {"all": 8.0, "operators": {"QGemm": 6.0, "Softmax": 1.94, "Shape": 0.06}}
CHECKED = {
    "pairs": 400, "changed_labels": 44, "logits_difference": 1.7, "alone_difference": 0.0,
    "accuracy": [0.75, 0.72],
}  # fmt: skip
TIMES = {"served_p99_ms": 30.0, "served_cpu_ms": 5.0, "predict_ms": 4.0, "one_client_ms": 6.0}


@pytest.mark.parametrize(
    ("name", "figures", "document", "row"),
    [
        ("serving-light", {"clients": 16, "rounds": [RATES | TIMES]}, "serving",
         "| light fp32 | 100 | 90.0 | 0.90 | not measured |  | 30.0 ms | 4.0 ms | 6.0 ms |"),
        ("serving-compact", {"clients": 16, "rounds": [RATES | TIMES | BY_HAND]}, "serving",
         "| compact int8 | 100 | 90.0 | 0.90 | 60.0 | 1.50 | 30.0 ms | 4.0 ms | 6.0 ms |"),
        ("explanations-light", {"words": AREA, "patches": AREA}, "explanation",
         "| light, patches | 3 | 0.1000 | 0.3000 | 0.2000 (0.1000 to 0.2500) |"),
        ("known-light", {"model": "light", "patch": HITS, "words": HITS},
         "explanation", "| light | the patch: the map has its peak in it | 8 | 6 (75.0%) |"),
        ("command-light", {"pairs": 511, "turns": 5, "seconds": SECONDS}, "benchmarks",
         "| light | seconds | 1.50 | 1.00 | 1.50 |"),
        ("operators-clip", {"model": "clip", "bundles": {"int8": PROFILE}}, "benchmarks",
         "| clip | int8 | 8.00 | QGemm 6.00, Softmax 1.94 |"),
        ("quantization-compact",
         {"bundles": {"quantize_static": {"bytes": 63_420_304, "verification": CHECKED}}},
         "precision",
         "| compact | ONNX Runtime's static int8 | 63.4 | 44 of 400 | 1.7e+00 | 0.0e+00 | 0.7500, "
         "0.7200 |"),
    ],
)  # fmt: skip
def test_a_missing_result_becomes_a_row(copy, name, figures, document, row):
    """Before that, the document says that nothing was measured yet."""
    results = copy / "benchmarks/results"
    (results / f"{name}.json").unlink(missing_ok=True)
    write(copy)
    assert row not in (copy / f"docs/{document}.md").read_text(encoding="utf-8")
    result = json.loads((results / "parquet.json").read_text()) | {"figures": figures}
    (results / f"{name}.json").write_text(json.dumps(result))
    write(copy)
    assert row in (copy / f"docs/{document}.md").read_text(encoding="utf-8")


def test_limits_are_a_table_of_what_decoding_and_products_allow(copy):
    """At 100 images a second and 25 products a second, 20 pairs a second; mmsent has 15."""
    path = copy / "benchmarks/results/inference-compact.json"
    result = json.loads(path.read_text())
    limits = {"decode": 100.0}
    for name in ("fp32", "int8"):
        limits |= {name: 37.5, f"products_{name}": 25.0, f"both_{name}": 20.0}
        result["figures"]["sides"][f"mmsent {name}"]["pairs_per_second"] = 15.0
    result["figures"]["limits"] = limits
    path.write_text(json.dumps(result))
    write(copy)
    row = "| compact | 100 | int8 | 37.5 | 25.0 | 20.0 | 15.0 | 75% |"
    assert row in (copy / "docs/benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "docs/accuracy.md", "docs/scale.md"])
def test_a_manually_changed_figure_is_found(copy, name):
    document = copy / name
    text = document.read_text(encoding="utf-8")
    start = text.index("<!-- figures: ")
    changed = re.sub(r"\d", lambda digit: str(9 - int(digit[0])), text[start:], count=1)
    document.write_text(text[:start] + changed, encoding="utf-8")
    assert check(copy) == (f"{name} is stale: run make figures\n", 1)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_have_a_command_commit_and_processor(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result.keys() == {"command", "commit", "date", "machine", "versions", "figures"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert re.fullmatch(r"[0-9a-f]{7,}", result["commit"])  # not "-dirty"
    assert result["machine"].keys() == {"processor", "instructions", "cores"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_contain_no_path_of_the_machine(path):
    assert re.findall(r"(?<![\w.])/\w+/\S*|~/\S*|[A-Z]:\\\S*", path.read_text()) == []

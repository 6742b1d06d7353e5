"""The targets on the stored corpus, on inputs from hypothesis, and briefly under atheris."""

import csv
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import targets
from .targets import TARGETS

HERE = Path(__file__).parent
KEPT = sorted((HERE / "corpus").glob("*/*"))
OF = {name: [path.read_bytes() for path in KEPT if path.parent.name == name] for name in TARGETS}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_stored_corpus(path):
    TARGETS[path.parent.name](path.read_bytes())


cell = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["guid", "tag", "negative", "null", "8.0", "=1+1", "../x", '"', "\x00", "\u202e", "1" * 200]
)
table = st.lists(st.lists(cell, max_size=4), max_size=6)


def written(rows):
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


@st.composite
def altered(draw, wholes):
    """A valid file with some bytes changed, removed, repeated or added."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "cut", "add", "end"]))
        if kind == "set":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 30))]
        elif kind == "add":
            data[place:place] = draw(st.binary(max_size=12) | st.sampled_from(wholes))
        else:
            del data[place:]
    return bytes(data)


@given(table.map(lambda rows: written([["guid", "tag"], *rows])) | altered(OF["list"]))
def test_lists(data):
    targets.read(data)


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | cell,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cell, inner, max_size=3),
    max_leaves=4,
)
role = st.sampled_from(["id", "guid", "text", "image", "label", "split"])


@given(
    st.lists(st.dictionaries(role, value, max_size=6), max_size=6).map(
        lambda rows: "\n".join(map(json.dumps, rows)).encode()
    )
    | altered(OF["json_lines"])
)
def test_json_lines(data):
    targets.json_lines(data)


@given(st.binary(max_size=80) | st.text().map(lambda s: s.encode("gb18030", "ignore")))
def test_texts(data):
    targets.text(data)


@given(altered(OF["image"]))
def test_images(data):
    targets.image(data)


@given(altered(OF["bundle"]))
def test_bundles(data):
    targets.bundle(data)


@given(altered(OF["parquet"]))
def test_parquet(data):
    targets.parquet(data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(name, tmp_path):
    """A thousand inputs; `make fuzz` runs for an hour."""
    arguments = [HERE / "run.py", name, tmp_path, HERE / "corpus" / name, "-runs=1000", "-seed=1"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]

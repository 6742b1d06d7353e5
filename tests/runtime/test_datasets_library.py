"""Hugging Face's datasets library as the reference: the files it writes and the folders it reads.

It is installed in a separate environment, since mmsent does not need it.
"""

import hashlib
import json
import subprocess
import venv

import pytest

from mmsent.data.dataset import open_dataset
from tests.layouts import drawn, imagefolder, task_folder, write_images
from tests.small_bundle import write_small_bundle

pytestmark = pytest.mark.installs
LABELS = ("仇恨", "非仇恨", "unclear")

WRITE = """
import json, sys
from datasets import ClassLabel, Dataset, Features, Image, Value
rows = json.load(open(sys.argv[1]))
for kind in sys.argv[2:]:
    images = [row["image"] for row in rows]
    if kind == "bytes":
        images = [{"bytes": open(image, "rb").read(), "path": None} for image in images]
    elif kind == "binary":
        images = [open(image, "rb").read() for image in images]
    kinds = {"binary": Value("binary"), "paths": Value("string")}
    features = Features({
        "text": Value("string"), "image": kinds.get(kind, Image()),
        "label": ClassLabel(names=rows[0]["names"]),
    })
    columns = {name: [row[name] for row in rows] for name in ("text", "label")}
    Dataset.from_dict({**columns, "image": images}, features).to_parquet(f"{kind}.parquet")
"""

READ = """
import hashlib, json, sys
import datasets
found = datasets.load_dataset("imagefolder", data_dir=sys.argv[1])
result = {}
for split, part in found.items():
    label = part.features.get("label")
    result[split] = []
    for row in part.cast_column("image", datasets.Image(decode=False)):
        data = row["image"]["bytes"] or open(row["image"]["path"], "rb").read()
        name = label.int2str(row["label"]) if hasattr(label, "int2str") else row.get("label")
        result[split].append([row.get("text"), name, hashlib.sha256(data).hexdigest()])
print(json.dumps(result))
"""

PACKED = """
import hashlib, json, sys
import datasets
part = datasets.load_dataset("parquet", data_files=sys.argv[1])["train"]
assert isinstance(part.features["image"], datasets.Image)
print(json.dumps([
    [row["guid"], row["text"], row["tag"],
     hashlib.sha256(row["image"]["bytes"]).hexdigest()]
    for row in part.cast_column("image", datasets.Image(decode=False))
]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Runs a script in an environment with datasets."""
    folder = tmp_path_factory.mktemp("datasets")
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "datasets", "pillow", "pyarrow"], check=True)

    def run(script, *arguments, cwd=folder):
        environment = {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
        done = subprocess.run(
            [python, "-c", script, *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("drawn") / "sample", LABELS, pairs=24)


KINDS = ("files", "bytes", "binary", "paths")


@pytest.fixture(scope="module")
def written(library, rows, tmp_path_factory):
    """to_parquet's output for each kind of image column, and the folder of the images."""
    folder = tmp_path_factory.mktemp("written")
    write_images(folder / "images", rows)
    content = [
        {"text": row.text, "label": row.label, "image": str(folder / "images" / row.image_name),
         "names": LABELS}
        for row in rows
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(content))
    library(WRITE, "rows.json", *KINDS, cwd=folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_to_parquets_files_are_read(written, rows, kind):
    found = open_dataset(written / f"{kind}.parquet").rows(labelled=True)
    wanted = [(str(n), row.text, row.image, row.label) for n, row in enumerate(rows, 1)]
    assert [(p.guid, p.read_text(), p.read("image"), p.label) for p in found] == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_to_parquets_files_are_predicted(run_command, written, rows, tmp_path, kind):
    small = write_small_bundle(tmp_path / "small.onnx")
    sources = (written / f"{kind}.parquet", task_folder(tmp_path / "task", rows))
    for source, output in zip(sources, ("found.csv", "wanted.csv")):
        result = run_command(
            "mmsent-infer", source, "--model", small, "--output", output, "--probabilities",
            cwd=tmp_path,
        )  # fmt: skip
        assert result.code == 0, result.err
    found, wanted = (
        [line.split(",")[1:] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("found.csv", "wanted.csv")
    )
    assert found == wanted


def test_packed_pairs_are_read_by_datasets(library, run_command, rows, tmp_path):
    folder = task_folder(tmp_path / "task", rows)
    assert run_command("mmsent", "pack", folder, "out.parquet", cwd=tmp_path).code == 0
    read = json.loads(library(PACKED, tmp_path / "out.parquet"))
    wanted = [
        [row.guid, row.text, row.label, hashlib.sha256(row.image).hexdigest()] for row in rows
    ]
    assert read == wanted


def label_folders(folder, rows):
    for split, some in (("train", rows[:12]), ("validation", rows[12:18]), ("test", rows[18:])):
        for label in LABELS:
            write_images(folder / split / label, [row for row in some if row.label == label])
    return folder


def with_metadata(folder, rows):
    for split, some in (("train", rows[:12]), ("test", rows[12:])):
        imagefolder(folder / "written" / split, some)
        (folder / "written" / split / "train").rename(folder / split)
    return folder


def without_splits(folder, rows):
    imagefolder(folder, rows)
    (folder / "train").rename(folder.with_name("moved"))
    folder.rmdir()
    return folder.with_name("moved").rename(folder)


@pytest.mark.parametrize("write", [label_folders, with_metadata, without_splits])
def test_imagefolders_have_the_rows_that_datasets_finds(library, rows, tmp_path, write):
    folder = write(tmp_path / "folder", rows)
    wanted = json.loads(library(READ, folder))
    found = {}
    for pair in open_dataset(folder).rows(labelled=True):
        text = None if pair.lacks("text") else pair.read_text()
        digest = hashlib.sha256(pair.read("image")).hexdigest()
        found.setdefault(pair.split or "train", []).append([text, pair.label, digest])
    assert {split: sorted(some, key=str) for split, some in found.items()} == {
        split: sorted(some, key=str) for split, some in wanted.items()
    }

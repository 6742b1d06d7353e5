"""Pairs in a Parquet file, compared with the same pairs in a folder."""

import csv
import json
import os
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TEST_LIST, TRAIN_LIST, image_file
from mmsent.data.labels import SENTIMENTS
from mmsent.predict.model import SentimentModel
from mmsent.predict.output import Output
from tests.small_bundle import write_small_bundle


@pytest.fixture
def packed(run_command, sample, tmp_path):
    """The sample's labelled pairs, packed by the command."""
    path = tmp_path / "pairs.parquet"
    result = run_command("mmsent", "pack", sample / TRAIN_LIST, path, cwd=tmp_path)
    assert result.code == 0, result.err
    return path


@pytest.fixture
def small(tmp_path):
    return write_small_bundle(tmp_path / "small.onnx")


def written(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def infer(run_command, path, model, output, *options, **more):
    return run_command(
        "mmsent-infer", path, "--model", model, "--output", output, *options, cwd=path.parent,
        **more,
    )  # fmt: skip


def image_bytes(sample):
    pairs = list(open_dataset(sample).select(TRAINING).rows())
    return [pair.guid for pair in pairs], [pair.read("image") for pair in pairs]


def test_pack_writes_the_layout_of_datasets_with_the_files_bytes(sample, packed):
    table = pq.read_table(packed)
    guids, images = image_bytes(sample)
    assert table.column("guid").to_pylist() == guids
    assert [cell["bytes"] for cell in table.column("image").to_pylist()] == images
    labels = [pair.label for pair in open_dataset(sample).select(TRAINING).rows()]
    assert table.column("tag").to_pylist() == labels
    for guid, text in zip(guids, table.column("text").to_pylist()):
        with open(sample / "data" / f"{guid}.txt", "rb") as file:
            raw = file.read()
        assert text.encode("gb18030") == raw.strip() or text.encode() == raw.strip()
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}


def test_predictions_are_the_same_as_for_the_folder(run_command, sample, bundle, packed):
    for path, output in ((sample / TRAIN_LIST, packed.with_name("folder.csv")),
                         (packed, packed.with_name("packed.csv"))):  # fmt: skip
        result = infer(run_command, path, bundle, output, "--probabilities")
        assert result.code == 0, result.err
    wanted = written(packed.with_name("folder.csv"))
    assert written(packed.with_name("packed.csv")) == wanted
    infer(run_command, packed, bundle, "packed.parquet", "--probabilities")
    table = pq.read_table(packed.with_name("packed.parquet"))
    assert table.schema.names == ["guid", "tag", *SENTIMENTS]
    rows = zip(*(table.column(name).to_pylist() for name in ("guid", "tag")))
    assert [list(row) for row in rows] == [row[:2] for row in wanted[1:]]
    numbers = np.array([row[2:] for row in wanted[1:]], np.float32)
    got = np.stack([table.column(label).to_numpy() for label in SENTIMENTS], axis=1)
    np.testing.assert_allclose(got, numbers, rtol=1e-6)


def test_a_list_without_labels(run_command, sample, small, tmp_path):
    path = tmp_path / "test.parquet"
    run_command("mmsent", "pack", sample / TEST_LIST, path, cwd=tmp_path)
    assert pq.read_table(path).column("tag").null_count == 10
    assert infer(run_command, path, small, "out.csv").code == 0
    assert len(written(tmp_path / "out.csv")) == 11
    assert run_command("mmsent", "check-data", "--data", path, cwd=tmp_path).code == 0


@pytest.mark.parametrize("form", ["binary", "path", "struct of paths", "large", "dictionary"])
def test_every_type_of_column(run_command, sample, packed, small, form):
    table = pq.read_table(packed)
    names = [f"data/{cell['path']}" for cell in table.column("image").to_pylist()]
    _, images = image_bytes(sample)
    column = {
        "binary": pa.array(images),
        "path": pa.array(names),
        "struct of paths": pa.array([{"bytes": None, "path": name} for name in names]),
        "large": pa.array(images, pa.large_binary()),
        "dictionary": pa.array(images).dictionary_encode(),
    }[form]
    table = table.set_column(2, "image", column)
    if form in ("large", "dictionary"):
        numbers = [int(guid) for guid in table.column("guid").to_pylist()]
        table = table.set_column(0, "guid", pa.array(numbers))
    other = packed.with_name("other.parquet")
    pq.write_table(table, other, row_group_size=7)
    for path in (packed, other):
        result = infer(run_command, path, small, f"{path.name}.csv", "--data", sample)
        assert result.code == 0, result.err
    assert written(f"{other}.csv") == written(f"{packed}.csv")


def spoiled(packed):
    """A copy with a bad row of each kind, and the expected messages."""
    table = pq.read_table(packed).to_pylist()[:12]
    table[0]["guid"] = "8.0"
    table[1]["guid"] = None
    table[2]["text"] = None
    table[3]["image"] = None
    table[4]["image"] = {"bytes": None, "path": None}
    table[5]["image"] = {"bytes": None, "path": "../../etc/passwd"}
    table[6]["image"] = {"bytes": None, "path": "/etc/passwd"}
    table[7]["image"] = {"bytes": None, "path": "link/passwd"}
    table[8]["text"] = "a" * ((1 << 20) + 1)
    table[9]["image"] = {"bytes": None, "path": "absent.jpg"}
    path = packed.with_name("spoiled.parquet")
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=5)
    os.symlink("/etc", packed.with_name("link"))
    return path, {
        1: "decimal point", 2: "guid is missing", 3: "has no text", 4: "has no image",
        5: "has no image", 6: "leads out", 7: "leads out", 8: "leads out", 9: "larger than",
        10: "does not exist",
    }  # fmt: skip


def test_every_bad_row_is_reported_and_nothing_is_written(run_command, packed, small):
    path, faults = spoiled(packed)
    result = infer(run_command, path, small, "out.parquet")
    assert result.code == 2
    lines = result.err.splitlines()[1:]
    assert len(lines) == len(faults)
    for row, fault in faults.items():
        (line,) = (line for line in lines if f"row {row}:" in line or f"row {row} (" in line)
        assert fault in line
    assert not (packed.parent / "out.parquet").exists()


def test_bad_rows_are_skipped_on_request(run_command, packed, small):
    path, faults = spoiled(packed)
    result = infer(run_command, path, small, "out.parquet", "--on-error", "skip")
    assert result.code == 1
    guids = pq.read_table(path).column("guid").to_pylist()
    assert pq.read_table(packed.with_name("out.parquet")).column("guid").to_pylist() == guids[10:]
    errors = written(packed.with_name("out.parquet.errors.csv"))[1:]
    assert [int(error[0]) for error in errors] == [*faults]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("image", None, "the pair has no image"),
        ("text", pa.array([1.5] * 80), "the column text can't be of type double"),
        ("image", pa.array([[1]] * 80), "the column image can't be of type list"),
        ("image", pa.array([{"bytes": 1}] * 80), "the column image can't be of type struct"),
    ],
)
def test_a_file_with_other_columns_is_refused(run_command, packed, small, column, value, fault):
    table = pq.read_table(packed).drop_columns([column])
    if value is not None:
        table = table.append_column(column, value)
    pq.write_table(table, packed)
    result = infer(run_command, packed, small, "out.csv")
    assert result.code == 2
    assert fault in result.err


@pytest.mark.parametrize("damage", ["cut", "no footer", "bytes changed", "empty"])
def test_a_damaged_file_is_refused(run_command, packed, small, damage):
    content = bytearray(packed.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "no footer":
        content = content[:-8]
    elif damage == "bytes changed":
        content[4:2000] = bytes(1996)
    else:
        content = bytearray()
    packed.write_bytes(content)
    result = infer(run_command, packed, small, "out.csv")
    assert result.code == 2
    assert f"{packed} is not a complete Parquet file" in result.err
    assert not packed.with_name("out.csv").exists()


@pytest.mark.parametrize("window_bytes", [1 << 28, 60_000], ids=["by rows", "by bytes"])
def test_a_resumed_inference_gives_the_same_result(
    run_command, packed, small, tmp_path, monkeypatch, window_bytes
):
    """A full disk stops it, in windows that end by their number of rows or of bytes."""
    monkeypatch.setattr("mmsent.predict.stream.WINDOW_BYTES", window_bytes)
    table = pa.concat_tables([pq.read_table(packed)] * 5)
    path = tmp_path / "long.parquet"
    pq.write_table(table, path, row_group_size=50)
    options = ["--probabilities", "--threads", 1, "--batch-size", 16]
    infer(run_command, path, small, "whole.parquet", *options)
    write, run, rows, computed = Output.write, SentimentModel.run, [], []

    def full(self, row, prediction):
        rows.append(row)
        if len(rows) == 100:
            raise OSError(28, "No space left on device")
        write(self, row, prediction)

    def counted(self, ids, pixels):
        computed.extend(ids)
        return run(self, ids, pixels)

    monkeypatch.setattr(SentimentModel, "run", counted)
    with mock.patch.object(Output, "write", full):
        assert infer(run_command, path, small, "out.parquet", *options).code == 1
    assert not (tmp_path / "out.parquet").exists()
    assert len(computed) < 400
    result = infer(run_command, path, small, "out.parquet", *options, "--resume")
    assert result.code == 0, result.err
    assert len(computed) == 400  # the same batches, none of them repeated
    wanted = pq.read_table(tmp_path / "whole.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(wanted)
    assert not list(tmp_path.glob(".*part*"))


def test_errors_are_not_written_without_the_predictions(run_command, packed, small, tmp_path):
    """Parquet is written at the end; if that fails, the inference can be resumed."""
    table = pq.read_table(packed).to_pylist()
    table[1]["image"]["bytes"] = b"no image"
    pq.write_table(pa.Table.from_pylist(table, pq.read_schema(packed)), packed)

    options = ["--on-error", "skip"]
    in_its_way = tmp_path / f".out.parquet.{os.getpid()}.part"
    in_its_way.mkdir()
    result = infer(run_command, packed, small, "out.parquet", *options)
    assert "Is a directory; when that is fixed" in result.err
    in_its_way.rmdir()
    assert not list(tmp_path.glob("out.parquet*"))
    assert infer(run_command, packed, small, "out.parquet", *options, "--resume").code == 1
    assert len(pq.read_table(tmp_path / "out.parquet")) == len(table) - 1
    assert len(written(tmp_path / "out.parquet.errors.csv")) == 2


def test_more_rows_than_the_limit_for_the_size_are_refused(run_command, small, tmp_path):
    """Rows take almost no space in Parquet: a file of 300 KB can claim a hundred million."""
    path = tmp_path / "nothing.parquet"
    rows = 1_000_000
    nothing = pa.table({name: pa.nulls(rows, pa.string()) for name in ("guid", "text", "image")})
    pq.write_table(nothing, path)
    result = infer(run_command, path, small, "out.csv")
    assert result.code == 2
    assert f"can't hold {rows} rows in its {path.stat().st_size} bytes" in result.err


BOMBS = {
    "a large value": {"text": [b"a" * (300 << 20)], "image": [b"x"]},
    "a dictionary": {"text": ["a"] * 300, "image": [b"b" * (8 << 20)] * 300},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded(small, tmp_path, name):
    """A small file whose values take 300 MB, or 2.4 GB in all."""
    path = tmp_path / "bomb.parquet"
    columns = BOMBS[name]
    table = pa.table({"guid": [str(n) for n in range(len(columns["text"]))], **columns})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < 100_000
    command = ["infer", path, "--model", small, "--output", tmp_path / "out.csv"]
    code = (
        "from mmsent import cli\n"
        "try: cli.run(cli.cli)\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True
    )
    assert "nothing was predicted" in done.stderr or "was not written" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stdout) < 2 << 20  # KiB


def test_without_pyarrow_the_extra_is_named(run_command, packed, small):
    with mock.patch.dict(sys.modules, {"pyarrow": None}):
        result = infer(run_command, packed, small, "out.csv")
    assert result.code == 1
    assert "pip install './runtime[parquet]'" in result.err


def test_pack_reports_every_bad_row(run_command, sample, tmp_path):
    folder = shutil.copytree(sample, tmp_path / "dataset")
    rows = list(open_dataset(folder).select(TRAINING).rows())
    os.remove(image_file(folder, rows[3].guid))
    (folder / "data" / f"{rows[60].guid}.txt").write_bytes(b"caf\xe9")
    with open(folder / TRAIN_LIST, "a") as file:
        file.write(f"{rows[0].guid},positive\n")
    result = run_command("mmsent", "pack", ".", "out.parquet", cwd=folder)
    assert result.code == 2
    assert [line.split("(")[0].strip() for line in result.err.splitlines()[1:]] == [
        "train.txt line 5", "train.txt line 62", "train.txt line 82",
    ]  # fmt: skip
    assert not (folder / "out.parquet").exists()


def test_check_data_says_the_same_as_for_the_folder(run_command, sample, packed):
    def facts(data):
        result = run_command("mmsent", "check-data", "--json", "--data", data, cwd=packed.parent)
        assert result.code == 0, result.err
        return json.loads(result.out)

    path = packed.with_name("train")
    path.mkdir()
    shutil.copytree(sample / "data", path / "data")
    shutil.copy(sample / TRAIN_LIST, path)
    wanted, found = facts(path), facts(packed)
    for name in ("labels", "image_formats", "words", "widths", "heights"):
        assert found[name] == wanted[name]
    assert found["lists"] == {packed.name: 80}
    assert found["errors"] == []
    assert len(found["warnings"]) == len(wanted["warnings"])


def test_check_data_reports_bad_rows(run_command, packed):
    path, faults = spoiled(packed)
    faults |= {3: "text is missing", 4: "image is missing", 5: "image is missing"}
    result = run_command("mmsent", "check-data", "--data", path, cwd=packed.parent)
    assert result.code == 2
    for row, fault in faults.items():
        assert any(f"row {row}" in line and fault in line for line in result.out.splitlines())

"""mmsent.ray on a local cluster, compared with mmsent-infer."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsent.data.folder import TRAIN_LIST
from tests.command import command
from tests.small_bundle import write_small_bundle

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def packed(run_command, sample, tmp_path_factory):
    """The sample's pairs in row groups of 20 with an extra column, and infer's predictions."""
    folder = tmp_path_factory.mktemp("ray")
    path = folder / "pairs.parquet"
    run_command("mmsent", "pack", sample / TRAIN_LIST, path, cwd=folder)
    table = pq.read_table(path)
    table = table.append_column("user", pa.array(range(len(table)), pa.int64()))
    pq.write_table(table, path, row_group_size=20)
    model = write_small_bundle(folder / "small.onnx")
    done = run_command(
        "mmsent-infer", path, "--model", model, "--output", "out.csv", "--probabilities", cwd=folder
    )
    assert done.code == 0, done.err
    with open(folder / "out.csv", newline="") as file:
        return path, model, list(csv.reader(file))[1:]


def check(rows, wanted):
    rows = sorted(rows, key=lambda row: row["user"])
    assert [(row["guid"], row["predicted_tag"]) for row in rows] == [(r[0], r[1]) for r in wanted]
    for row, (_, _, *numbers) in zip(rows, wanted):
        found = [row[f"predicted_{label}"] for label in ("negative", "neutral", "positive")]
        assert found == pytest.approx([float(number) for number in numbers], rel=1e-6)


def test_rows_columns_and_predictions(cluster, packed):
    import mmsent.ray

    path, model, wanted = packed
    result = mmsent.ray.predict(ray.data.read_parquet(str(path)), model, concurrency=2)
    rows = result.take_all()
    assert {"guid", "text", "image", "tag", "user"} < set(rows[0])
    check(rows, wanted)


def test_a_bad_row(cluster, packed):
    import mmsent.ray

    path, model, _ = packed
    rows = pq.read_table(path).to_pylist()
    rows[3]["image"] = {"bytes": b"none", "path": None}
    data = ray.data.from_arrow(pa.Table.from_pylist(rows))
    found = mmsent.ray.predict(data, model, on_error="skip", concurrency=1).take_all()
    (bad,) = (row for row in found if row["predicted_tag"] is None)
    assert bad["guid"] == rows[3]["guid"]
    assert "can't be decoded" in bad["predicted_error"]
    with pytest.raises(Exception, match=f"guid '{rows[3]['guid']}'"):
        mmsent.ray.predict(data, model, concurrency=1).take_all()


def test_pairs_with_a_missing_part(cluster, packed, tmp_path):
    """Null cells, paths without a file and a missing column, compared with infer."""
    import mmsent.ray

    path, needs_both, _ = packed
    rows = pq.read_table(path).to_pylist()
    rows[3]["image"] = None
    rows[5]["text"] = None
    rows[7]["image"] = {"bytes": None, "path": "absent.jpg"}
    model = write_small_bundle(tmp_path / "either.onnx", optional=("text", "image"))
    wanted = predictions(tmp_path, model, rows)
    data = ray.data.from_arrow(pa.Table.from_pylist(rows))
    found = mmsent.ray.predict(data, model, allow_missing=True, concurrency=1).take_all()
    check(found, wanted)
    with pytest.raises(Exception, match=r"absent\.jpg|does not exist"):
        mmsent.ray.predict(data, model, concurrency=1).take_all()
    found = mmsent.ray.predict(data, needs_both, on_error="skip", concurrency=1).take_all()
    errors = {row["user"]: row["predicted_error"] for row in found if row["predicted_error"]}
    assert sorted(errors) == [3, 5, 7]
    assert "has no image" in errors[3]
    assert "has no text" in errors[5]
    data = ray.data.from_arrow(pa.Table.from_pylist(rows).drop_columns(["image"])).limit(3)
    found = mmsent.ray.predict(data, model, concurrency=1).take_all()
    check(found, predictions(tmp_path, model, [row | {"image": None} for row in rows[:3]]))
    with pytest.raises(Exception, match="lacks the column image"):
        mmsent.ray.predict(data, needs_both, concurrency=1).take_all()


def predictions(folder, model, rows):
    """The predictions of mmsent-infer for rows."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    done = command(
        "mmsent-infer", "rows.parquet", "--model", model, "--output", "out.csv", "--probabilities",
        "--allow-missing", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    with open(folder / "out.csv", newline="") as file:
        return list(csv.reader(file))[1:]


def test_an_actor_that_is_killed(cluster, packed, tmp_path):
    """The actor kills itself once, in the middle of a batch."""
    import mmsent.ray

    path, model, wanted = packed
    mark = tmp_path / "killed"

    class Mortal(mmsent.ray._Predictor):
        def __call__(self, table):
            if table.column("user")[0].as_py() >= 40:
                try:
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.1)
            return super().__call__(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmsent.ray, "_Predictor", Mortal)
        data = ray.data.read_parquet(str(path), override_num_blocks=4)
        result = mmsent.ray.predict(data, model, concurrency=2, batch_size=10)
        rows = result.take_all()
    assert mark.exists()
    check(rows, wanted)


def test_the_example(cluster, packed, tmp_path):
    path, model, wanted = packed
    program = [sys.executable, ROOT / "examples" / "ray_predict.py"]
    env = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    done = subprocess.run(
        [*program, path, tmp_path / "out", "--model", model, "--actors", "1"],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(pq.read_table(tmp_path / "out").to_pylist(), wanted)

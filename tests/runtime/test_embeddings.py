"""Embeddings from a bundle: `SentimentModel.embed`, `mmsent-infer --embeddings`.

The small bundle's embedding is the brightness of the image and the sum of the text's ids: 1 for
"fun", 2 for "rain", 3 for "a".
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmsent import InputError, SentimentModel
from mmsent.data.folder import image_file, text_file
from mmsent.predict.output import Output

from ..command import Command
from ..small_bundle import LABELS, write_small_bundle

ROWS = 300
WORDS = ["fun", "rain", "a"]


class Killed(BaseException):
    """Simulates a SIGKILL."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of pairs and two bundles, one of which has embeddings. Read-only."""
    folder = tmp_path_factory.mktemp("many") / "dataset"
    (folder / "data").mkdir(parents=True)
    for number in range(ROWS):
        with open(text_file(folder, str(number)), "w") as file:
            file.write(" ".join(WORDS[: number % 4]))
        Image.new("RGB", (9, 9), (number % 256,) * 3).save(image_file(folder, str(number)), "PNG")
    lines = ["guid,tag", *(f"{number},null" for number in range(ROWS))]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    write_small_bundle(folder / "plain.onnx")
    write_small_bundle(folder / "model.onnx", embeddings=True, optional=("text", "image"))
    return folder


WANTED = [[float(n % 256), float([0, 1, 3, 6][n % 4])] for n in range(ROWS)]


def infer(run_command: Command, folder: Path, output: Path, *options: object, model: str = "model"):
    return run_command(
        "mmsent-infer", folder / "list.csv", "--model", folder / f"{model}.onnx",
        "--output", output, *options, cwd=output.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(many: Path) -> SentimentModel:
    return SentimentModel(many / "model.onnx", threads=2)


def grey(value: int) -> np.ndarray:
    return np.full((9, 9, 3), value, np.uint8)


def test_a_pair_and_lists_of_pairs(model: SentimentModel) -> None:
    assert model.features == 2
    found = model.embed("fun rain", grey(7))
    assert found.dtype == np.float32
    assert found.tolist() == [[7, 3]]
    several = model.embed(["fun", "rain", "a a a"], [grey(1), grey(2), grey(3)])
    assert several.tolist() == [[1, 1], [2, 2], [3, 9]]
    assert model.embed([], []).shape == (0, 2)


def test_a_pair_may_lack_an_optional_part(model: SentimentModel) -> None:
    """An empty text or a grey image replaces it."""
    assert model.embed(image=grey(9)).tolist() == [[9, 0]]
    assert model.embed(["fun"]).tolist() == [[127, 1]]
    with pytest.raises(InputError, match="neither text nor image"):
        model.embed()


def test_a_copy_in_another_process_embeds_too(model: SentimentModel) -> None:
    copy = pickle.loads(pickle.dumps(model))
    assert copy.embed("a", grey(0)).tolist() == [[0, 3]]


def test_predictions_do_not_change(many: Path, model: SentimentModel) -> None:
    plain = SentimentModel(many / "plain.onnx", threads=2)
    assert plain.features is None
    arguments = (["fun", "rain"], [grey(1), grey(200)])
    assert model.predict(*arguments) == plain.predict(*arguments)
    assert model.predict(*arguments)[0].embedding is None


def test_a_bundle_without_embeddings_says_how_to_get_them(
    run_command: Command, many: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="mmsent-export onnx --embeddings"):
        SentimentModel(many / "plain.onnx").embed("fun", grey(1))
    done = infer(run_command, many, tmp_path / "out.jsonl", "--embeddings", model="plain")
    assert done.code == 2
    assert "mmsent-export onnx --embeddings" in done.err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["out.csv", "out.txt", "-"])
def test_csv_has_no_embeddings(run_command: Command, many: Path, tmp_path: Path, name: str) -> None:
    done = infer(run_command, many, tmp_path / "x" if name == "-" else tmp_path / name,
                 *(["--output", "-"] if name == "-" else []), "--embeddings")  # fmt: skip
    assert done.code == 2
    assert "CSV can't hold embeddings" in done.err
    assert [*tmp_path.iterdir()] == []


def test_json_lines_have_a_list(run_command: Command, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert infer(run_command, many, output, "--embeddings", "--probabilities").code == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["embedding"] for row in rows] == WANTED
    assert list(rows[0]) == ["guid", "tag", "probabilities", "embedding"]


def test_parquet_has_a_list_of_fixed_size(
    run_command: Command, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsent.data.pack.PREDICTED_FEATURES", 200)  # several row groups
    output = tmp_path / "out.parquet"
    assert infer(run_command, many, output, "--embeddings", "--probabilities").code == 0
    table = pq.read_table(output)
    assert pq.ParquetFile(output).metadata.num_row_groups == 3
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert table.column_names == ["guid", "tag", *LABELS, "embedding"]
    values = table.column("embedding").combine_chunks().flatten().to_numpy()
    assert values.reshape(-1, 2).tolist() == WANTED


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("after", [1, 150, ROWS])
def test_a_killed_inference_is_resumed(
    run_command: Command, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, after: int,
) -> None:  # fmt: skip
    whole, output = tmp_path / f"whole-{name}", tmp_path / name
    assert infer(run_command, many, whole, "--embeddings").code == 0
    write, written = Output.write, []

    def counted(self, row, prediction):
        written.append(row)
        if len(written) == after:
            raise Killed
        write(self, row, prediction)

    with monkeypatch.context() as patch:
        patch.setattr(Output, "write", counted)
        with pytest.raises(Killed):
            infer(run_command, many, output, "--embeddings")
    without = infer(run_command, many, output, "--resume")
    assert without.code == 2
    assert "had another options" in without.err
    assert infer(run_command, many, output, "--embeddings", "--resume").code == 0
    assert output.read_bytes() == whole.read_bytes()


def test_every_digit_of_a_float32_is_written(
    run_command: Command, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers instead of the bundle's are read back bit for bit."""
    drawn = np.random.default_rng(0).standard_normal((ROWS, 2)).astype(np.float32)
    drawn *= np.float32(10) ** np.arange(-20, 20)[np.arange(ROWS) % 40, None]
    real = SentimentModel.run_with_embeddings

    def random(self, ids, pixels):
        logits, probabilities, found = real(self, ids, pixels)
        first = found[:, 0].astype(int)
        return logits, probabilities, drawn[first]

    monkeypatch.setattr(SentimentModel, "run_with_embeddings", random)
    output = tmp_path / "out.parquet"
    assert infer(run_command, many, output, "--embeddings").code == 0
    values = pq.read_table(output).column("embedding").combine_chunks().flatten().to_numpy()
    assert np.array_equal(values.reshape(-1, 2), drawn[[n % 256 for n in range(ROWS)]])


def test_a_label_of_that_name_keeps_its_column(
    run_command: Command, many: Path, tmp_path: Path
) -> None:
    from mmsent.predict.rows import Rows

    rows = Rows(tmp_path / "out.parquet", ("embedding", "other"), features=2)
    assert rows.columns == {"embedding": "embedding_", "other": "other"}


def test_embeddings_that_are_not_finite_are_refused(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsent.errors import MmsentError

    real = SentimentModel.run_with_embeddings
    monkeypatch.setattr(
        SentimentModel,
        "run_with_embeddings",
        lambda *arguments: (*real(*arguments)[:2], np.full((1, 2), np.nan, np.float32)),
    )
    with pytest.raises(MmsentError, match="NaN"):
        SentimentModel(many / "model.onnx").embed("fun", grey(1))

"""`mmsent-infer` on typical files of users."""

import csv
import io
import json
import os
import shutil

import onnxruntime
import pytest
from PIL import Image

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TEST_LIST, TRAIN_LIST, image_file, text_file
from mmsent.data.labels import SENTIMENTS

from ..layouts import write_rows
from ..small_bundle import write_small_bundle


@pytest.fixture
def dataset(sample, tmp_path):
    """A copy of the sample that a test may damage."""
    return shutil.copytree(sample, tmp_path / "dataset")


def written(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_submission_has_every_guid_in_the_lists_order(run_command, sample, bundle, tmp_path):
    """Compared with SentimentModel, one pair at a time."""
    result = run_command("mmsent-infer", sample / TRAIN_LIST, "--model", bundle, cwd=tmp_path)
    assert result.code == 0, result.err
    model = SentimentModel(bundle)
    wanted = [
        [pair.guid, model.predict(pair.read_text(), image_file(sample, pair.guid)).label]
        for pair in open_dataset(sample).select(TRAINING).rows()
    ]
    assert written(tmp_path / "submission.csv") == [["guid", "tag"], *wanted]


def test_probabilities_have_one_column_per_label(run_command, sample, bundle, tmp_path):
    run_command(
        "mmsent-infer", sample / TEST_LIST, "--model", bundle, "--probabilities",
        "--output", "out.csv", cwd=tmp_path,
    )  # fmt: skip
    header, *rows = written(tmp_path / "out.csv")
    assert header == ["guid", "tag", *SENTIMENTS]
    for _, tag, *probabilities in rows:
        numbers = [float(value) for value in probabilities]
        assert sum(numbers) == pytest.approx(1, abs=1e-5)
        assert tag == SENTIMENTS[numbers.index(max(numbers))]


def test_json_lines_by_the_suffix(run_command, sample, bundle, tmp_path):
    run_command(
        "mmsent", "infer", sample / TEST_LIST, "--model", bundle, "--probabilities",
        "--output", "out.jsonl", cwd=tmp_path,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["guid"] for row in rows] == guids(sample)
    assert all(set(row["probabilities"]) == set(SENTIMENTS) for row in rows)


def test_defaults_work_in_the_tasks_folder(run_command, dataset, bundle):
    shutil.copy(bundle, dataset / "model.onnx")
    assert run_command("mmsent-infer", TEST_LIST, cwd=dataset).code == 0
    assert len(written(dataset / "submission.csv")) == 11


def test_the_list_may_be_in_another_folder(run_command, sample, bundle, tmp_path):
    (tmp_path / "mine.csv").write_text((sample / TEST_LIST).read_text())
    result = run_command(
        "mmsent-infer", "mine.csv", "--data", sample, "--model", bundle, cwd=tmp_path
    )
    assert result.code == 0, result.err


def spoil_row(dataset):
    with open(dataset / TEST_LIST, "a") as file:
        file.write("7.0,null\n")
    return "line 12 (guid '7.0')"


def spoil_text(dataset):
    path = text_file(dataset, guids(dataset)[2])
    with open(path, "wb") as file:
        file.write(b"caf\xe9")
    return path


def remove_text(dataset):
    path = text_file(dataset, guids(dataset)[3])
    os.remove(path)
    return path


def remove_image(dataset):
    path = image_file(dataset, guids(dataset)[4])
    os.remove(path)
    return path


def truncate_image(dataset):
    path = image_file(dataset, guids(dataset)[5])
    os.truncate(path, 200)
    return path


def guids(dataset):
    return [pair.guid for pair in open_dataset(dataset / TEST_LIST).rows()]


SPOILS = [spoil_row, spoil_text, remove_text, remove_image]


@pytest.mark.parametrize("spoils", [*([spoil] for spoil in SPOILS), SPOILS, [truncate_image]])
def test_all_bad_data_is_reported_and_nothing_is_written(
    run_command, dataset, bundle, tmp_path, spoils
):
    named = [spoil(dataset) for spoil in spoils]
    output = tmp_path / "submission.csv"
    output.write_text("of yesterday")
    result = run_command(
        "mmsent-infer", dataset / TEST_LIST, "--model", bundle, "--output", output, cwd=tmp_path
    )
    assert result.code == 2
    for name in named:
        assert name in result.err
    assert output.read_text() == "of yesterday"
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", "submission.csv"}


def test_every_broken_image_of_a_long_list_is_reported(run_command, dataset, bundle, tmp_path):
    rows = list(open_dataset(dataset).select(TRAINING).rows())
    broken = [image_file(dataset, rows[index].guid) for index in (0, 40, 79)]
    for path in broken:
        os.truncate(path, 200)
    result = run_command("mmsent-infer", dataset / TRAIN_LIST, "--model", bundle, cwd=tmp_path)
    assert result.code == 2
    assert all(path in result.err for path in broken)
    assert "3 problems" in result.err
    assert not (tmp_path / "submission.csv").exists()


def test_a_missing_list_is_reported_as_missing(run_command, tmp_path):
    result = run_command("mmsent-infer", "none.txt", cwd=tmp_path)
    assert result.code == 2
    assert "none.txt does not exist" in result.err


def test_an_output_that_cannot_be_written(run_command, sample, bundle, tmp_path):
    (tmp_path / "file").touch()
    result = run_command(
        "mmsent-infer", sample / TEST_LIST, "--model", bundle, "--output", "file/out.csv",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.code == 1
    assert result.err == f"Error: {tmp_path / 'file'}: not a folder\n"


def test_threads_and_batch_size_change_nothing(run_command, sample, bundle, tmp_path):
    """Rule 1."""
    for name, options in {"a.csv": (), "b.csv": ("--threads", 3, "--batch-size", 5)}.items():
        result = run_command(
            "mmsent-infer", sample / TRAIN_LIST, "--model", bundle, "--probabilities",
            "--output", name, "--device", "cpu", *options, cwd=tmp_path,
        )  # fmt: skip
        assert result.code == 0, result.err
    one, other = written(tmp_path / "a.csv"), written(tmp_path / "b.csv")
    assert [row[:2] for row in one] == [row[:2] for row in other]
    for a, b in zip(one[1:], other[1:]):
        assert [float(x) for x in a[2:]] == pytest.approx([float(x) for x in b[2:]], abs=1e-6)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here"
)
def test_cuda_without_onnxruntimes_provider(run_command, sample, bundle, tmp_path):
    result = run_command(
        "mmsent-infer", sample / TEST_LIST, "--model", bundle, "--device", "cuda", cwd=tmp_path
    )
    assert result.code == 2
    assert "supports only CPUs" in result.err
    assert "onnxruntime-gpu" in result.err
    assert not (tmp_path / "submission.csv").exists()


@pytest.mark.parametrize(
    ("device", "code", "said"),
    [("cuda", 2, "--device cuda: "), ("auto", 0, "computing on the CPU")],
)
def test_cuda_that_does_not_load(
    run_command, sample, bundle, tmp_path, monkeypatch, device, code, said
):
    """A CUDA build without its libraries: ONNX Runtime creates the session on the CPU."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    result = run_command(
        "mmsent-infer", sample / TEST_LIST, "--model", bundle, "--device", device, cwd=tmp_path
    )
    assert result.code == code, result.err
    assert said in result.err
    assert "`mmsent doctor` says why" in result.err


LISTS = ["list.jsonl", "list.parquet", "list.csv"]
# The parts of each pair, by guid. A text in CSV can't be null, only empty.
PAIRS = {
    "both": ("rain fun", 3), "no image": ("rain", None), "an empty text": ("", 200),
    "no text": (None, 90), "an empty text alone": ("", None),
}  # fmt: skip


def picture(level):
    file = io.BytesIO()
    Image.new("RGB", (9, 9), (level,) * 3).save(file, "PNG")
    return file.getvalue()


def write_list(folder, name, pairs, *, drop=()):
    """Write ``pairs`` without the columns ``drop``; images are files, or bytes in Parquet."""
    rows = []
    for guid, (text, level) in pairs.items():
        image = None
        if level is not None:
            image = picture(level)
            if not name.endswith(".parquet"):
                (folder / f"{level}.png").write_bytes(image)
                image = f"{level}.png"
        row = {"guid": guid, "text": text, "image": image}
        rows.append({key: value for key, value in row.items() if key not in drop})
    return write_rows(folder / name, rows)


def predict(run_command, source, bundle, *options):
    """Run the command; return its result and the written probabilities by guid."""
    output = source.parent / "out.jsonl"
    result = run_command(
        "mmsent-infer", source, "--model", bundle, "--output", output, "--probabilities", *options,
        cwd=source.parent,
    )  # fmt: skip
    lines = output.read_text().splitlines() if output.exists() else []
    return result, {row["guid"]: row["probabilities"] for row in map(json.loads, lines)}


def wanted(bundle, pairs):
    """The probabilities of SentimentModel, one pair at a time."""
    model = SentimentModel(bundle)
    return {
        guid: model.predict(text, None if level is None else picture(level)).probabilities
        for guid, (text, level) in pairs.items()
    }


@pytest.fixture(scope="module")
def either(tmp_path_factory):
    """A bundle that accepts pairs without a text or without an image."""
    return write_small_bundle(
        tmp_path_factory.mktemp("either") / "model.onnx", optional=("text", "image")
    )


@pytest.mark.parametrize("name", LISTS)
def test_missing_parts_are_handled_as_in_python(run_command, either, tmp_path, name):
    pairs = dict(PAIRS)
    if name == "list.csv":
        del pairs["no text"]
    result, found = predict(run_command, write_list(tmp_path, name, pairs), either)
    assert result.code == 0, result.err
    assert found == wanted(either, pairs)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_path_is_a_missing_image(run_command, either, tmp_path, empty):
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"guid": "a", "text": "rain", "image": empty}) + "\n")
    result, found = predict(run_command, path, either)
    assert result.code == 0, result.err
    assert found == wanted(either, {"a": ("rain", None)})


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("part", ["text", "image"])
def test_a_list_may_lack_a_column(run_command, tmp_path, name, part):
    bundle = write_small_bundle(tmp_path / "model.onnx", optional=(part,))
    pairs = {"a": ("rain fun", 3), "b": ("", 200)}
    path = write_list(tmp_path, name, pairs, drop=[part])
    result, found = predict(run_command, path, bundle)
    assert result.code == 0, result.err
    left = {
        guid: (None, level) if part == "text" else (text, None)
        for guid, (text, level) in pairs.items()
    }
    assert found == wanted(bundle, left)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("part", "other"), [("text", "image"), ("image", "text")])
def test_a_required_part_must_not_be_missing(run_command, tmp_path, name, part, other):
    """The message says what to train instead; with --on-error skip, each such row is reported."""
    bundle = write_small_bundle(tmp_path / "model.onnx", optional=(other,))
    pairs = {"a": ("rain fun", 3), "b": ("", 200)}
    path = write_list(tmp_path, name, pairs, drop=[part])
    result, found = predict(run_command, path, bundle)
    assert result.code == 2
    assert not found
    assert "(guid 'a')" in result.err
    assert "(guid 'b')" in result.err
    assert f"has no {part}" in result.err
    assert f"--modality {other}" in result.err
    result, found = predict(run_command, path, bundle, "--on-error", "skip")
    assert result.code == 1
    assert not found
    _, *errors = written(tmp_path / "out.jsonl.errors.csv")
    assert [guid for _, guid, _, _ in errors] == [*pairs]
    assert all(f"has no {part}" in reason for *_, reason in errors)


def test_a_pair_without_text_and_image_is_always_refused(run_command, either, tmp_path):
    path = write_list(tmp_path, "list.jsonl", PAIRS | {"nothing": (None, None)})
    result, found = predict(run_command, path, either)
    assert result.code == 2
    assert "guid 'nothing'): the pair has neither text nor image" in result.err
    assert "1 problem" in result.err
    assert not found
    result, found = predict(run_command, path, either, "--on-error", "skip")
    assert result.code == 1
    assert found == wanted(either, PAIRS)


@pytest.mark.parametrize("remove", [remove_text, remove_image])
def test_files_may_be_missing_with_the_option(run_command, dataset, either, remove):
    path = remove(dataset)
    result, found = predict(run_command, dataset / TEST_LIST, either)
    assert result.code == 2
    assert path in result.err
    assert "--allow-missing" in result.err
    assert not found
    result, found = predict(run_command, dataset / TEST_LIST, either, "--allow-missing")
    assert result.code == 0, result.err
    model = SentimentModel(either)
    for pair in open_dataset(dataset / TEST_LIST).rows():
        text = pair.read_text() if os.path.exists(text_file(dataset, pair.guid)) else None
        image = image_file(dataset, pair.guid)
        prediction = model.predict(text, image if os.path.exists(image) else None)
        assert found[pair.guid] == prediction.probabilities


def test_the_option_is_not_suggested_if_the_model_needs_the_file(run_command, dataset, bundle):
    """Light requires a text."""
    remove_text(dataset)
    result, _ = predict(run_command, dataset / TEST_LIST, bundle)
    assert result.code == 2
    assert "--allow-missing" not in result.err
    result, _ = predict(run_command, dataset / TEST_LIST, bundle, "--allow-missing")
    assert result.code == 2
    assert "has no text" in result.err

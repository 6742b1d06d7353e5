"""`mmsent-infer` with rows that can't be predicted, and when it is interrupted."""

import csv
import json
import os
import resource
import shutil
import signal
from functools import cache

import pytest
from PIL import Image

from mmsent.data.folder import image_file, text_file
from mmsent.predict.infer import infer as infer_list
from mmsent.predict.model import SentimentModel
from mmsent.predict.output import Output

from ..small_bundle import write_small_bundle

ROWS = 600
slow = pytest.mark.slow


class Killed(BaseException):
    """Simulates a SIGKILL: no code may rely on catching it."""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A list of 600 pairs and a bundle. Read-only."""
    folder = tmp_path_factory.mktemp("many") / "dataset"
    (folder / "data").mkdir(parents=True)
    lines = ["guid,tag"]
    for number in range(ROWS):
        guid = f"g,{number}" if number % 9 == 0 else f"{number}"
        lines.append(f'"{guid}",null')
        text = " ".join(["rain", "fun", "a"][: number % 4] * (number % 3))
        with open(text_file(folder, guid), "w") as file:
            file.write(text)
        Image.new("RGB", (9, 9), (number * 7 % 256,) * 3).save(image_file(folder, guid), "PNG")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    write_small_bundle(folder / "model.onnx")
    return folder


@pytest.fixture
def dataset(many, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(many, tmp_path / "dataset")


def infer(run_command, folder, output, *options):
    return run_command(
        "mmsent-infer", folder / "list.csv", "--model", folder / "model.onnx", "--output", output,
        *options, cwd=output.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(run_command, many, tmp_path_factory):
    """Return the output of an uninterrupted inference, for an output name and options."""
    folder = tmp_path_factory.mktemp("whole")

    @cache
    def whole(name, *options):
        result = infer(run_command, many, folder / name, *options)
        assert result.code == 0, result.err
        return (folder / name).read_bytes()

    return whole


def killed(run_command, monkeypatch, folder, output, *options, after, event=None):
    """Run until row ``after``, then raise ``event``."""
    write, rows = Output.write, []

    def counted(self, row, prediction):
        rows.append(row)
        if len(rows) == after:
            if event is None:
                raise Killed
            event()
        write(self, row, prediction)

    with monkeypatch.context() as patch:
        patch.setattr(Output, "write", counted)
        if event is not None:
            return infer(run_command, folder, output, *options)
        with pytest.raises(Killed):
            infer(run_command, folder, output, *options)
        return None


def count_computed(monkeypatch):
    """Record the texts of all pairs that are computed from now on."""
    pairs, run = [], SentimentModel.run

    def counted(self, ids, pixels):
        pairs.extend(ids)
        return run(self, ids, pixels)

    monkeypatch.setattr(SentimentModel, "run", counted)
    return pairs


def table(path):
    return list(csv.reader(path.read_text().splitlines()))


def names(folder):
    return {path.name for path in folder.iterdir()} - {"dataset"}


@pytest.mark.parametrize("name", ["out.csv", pytest.param("out.jsonl", marks=slow)])
@pytest.mark.parametrize("after", [1, 129, 540, ROWS])
def test_a_killed_inference_is_resumed(
    run_command, many, whole, tmp_path, monkeypatch, name, after
):
    output, wanted = tmp_path / name, whole(name, "--probabilities")
    computed = count_computed(monkeypatch)
    killed(run_command, monkeypatch, many, output, "--probabilities", after=after)
    assert not output.exists()
    result = infer(run_command, many, output, "--probabilities", "--resume")
    assert result.code == 0, result.err
    assert output.read_bytes() == wanted
    assert len(computed) == ROWS
    assert names(tmp_path) == {name}


@pytest.mark.parametrize("name", [".out.csv.part", ".out.csv.part.batches"])
@pytest.mark.parametrize("cut", [1, 4000, *(pytest.param(n, marks=slow) for n in (3, 500))])
def test_a_partial_line_is_never_kept(run_command, many, whole, tmp_path, monkeypatch, cut, name):
    """A crash of the machine may leave the file truncated, or with zeros at its end."""
    output = tmp_path / "out.csv"
    killed(run_command, monkeypatch, many, output, after=590)
    part = tmp_path / name
    os.truncate(part, part.stat().st_size - cut)
    os.truncate(part, part.stat().st_size + 2)
    assert infer(run_command, many, output, "--resume").code == 0
    assert output.read_bytes() == whole("out.csv")


@pytest.mark.parametrize(
    "line", ["[{}, []]", "[0, 1]", "[0, [[0, 1]]]", "{}", "\xff", "[0, [[{}]]]"]
)
def test_a_line_that_is_no_batch_is_skipped(run_command, many, whole, tmp_path, monkeypatch, line):
    output = tmp_path / "out.csv"
    killed(run_command, monkeypatch, many, output, after=300)
    with open(tmp_path / ".out.csv.part.batches", "a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    assert infer(run_command, many, output, "--resume").code == 0
    assert output.read_bytes() == whole("out.csv")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_says_how_to_resume(run_command, many, tmp_path, monkeypatch, number):
    output = tmp_path / "out.csv"
    computed = count_computed(monkeypatch)
    result = killed(
        run_command, monkeypatch, many, output, after=300,
        event=lambda: os.kill(os.getpid(), number),
    )  # fmt: skip
    assert result.code == 128 + number
    assert "resume it with the same command and --resume" in result.err
    assert not output.exists()
    assert infer(run_command, many, output, "--resume").code == 0
    assert len(computed) == ROWS


def test_without_resume_it_starts_over(run_command, many, tmp_path, monkeypatch):
    output = tmp_path / "out.csv"
    killed(run_command, monkeypatch, many, output, after=500)
    computed = count_computed(monkeypatch)
    assert infer(run_command, many, output).code == 0
    assert len(computed) == ROWS


def test_nothing_to_resume_starts_over(run_command, many, tmp_path):
    assert infer(run_command, many, tmp_path / "out.csv", "--resume").code == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == ROWS + 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_an_interrupted_inference_leaves_no_file_open(many, tmp_path, monkeypatch):
    def fail(self, row, prediction):
        raise Killed

    monkeypatch.setattr(Output, "write", fail)
    with pytest.raises(Killed) as error:
        infer_list(many / "list.csv", many / "model.onnx", tmp_path / "out.csv")
    assert error.traceback  # which keeps every frame alive, with its open files
    opened = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    assert not opened & {str(path.resolve()) for path in (many / "list.csv", *tmp_path.iterdir())}


@pytest.mark.parametrize("change", ["model", "options", "list", "folder"])
def test_a_different_inference_is_not_resumed(
    run_command, many, dataset, tmp_path, monkeypatch, change
):
    output = tmp_path / "out.csv"
    killed(run_command, monkeypatch, dataset, output, after=500)
    arguments = {"list": dataset / "list.csv", "--model": dataset / "model.onnx"}
    if change == "model":
        content = bytearray((dataset / "model.onnx").read_bytes())
        content[content.index(b"mmsent.sha256") + 20] ^= 1
        (dataset / "model.onnx").write_bytes(content)
    elif change == "options":
        arguments["--on-error"] = "skip"
    elif change == "list":
        arguments["list"] = shutil.copy(dataset / "list.csv", dataset / "other.csv")
    else:
        arguments["--data"] = many
    options = [item for pair in list(arguments.items())[1:] for item in pair]
    result = run_command(
        "mmsent-infer", arguments["list"], *options, "--output", output, "--resume", cwd=tmp_path
    )
    assert result.code == 2
    assert change in result.err
    assert (tmp_path / ".out.csv.part").exists()  # the interrupted one can still be resumed
    assert not output.exists()


def test_a_changed_list_is_predicted_from_the_start(run_command, dataset, tmp_path, monkeypatch):
    output = tmp_path / "out.csv"
    killed(run_command, monkeypatch, dataset, output, after=590)
    lines = (dataset / "list.csv").read_text().splitlines()
    del lines[200]
    (dataset / "list.csv").write_text("\n".join(lines) + "\n")
    assert infer(run_command, dataset, output, "--resume").code == 0
    guids = [row[0] for row in table(tmp_path / "out.csv")]
    assert guids == [row[0] for row in csv.reader(lines)]


def test_two_processes_cannot_share_an_output(run_command, many, tmp_path, monkeypatch):
    output, results = tmp_path / "out.csv", []
    event = lambda: results.append(infer(run_command, many, output, "--resume"))  # noqa: E731
    assert killed(run_command, monkeypatch, many, output, after=300, event=event).code == 0
    assert results[0].code == 2
    assert f"another inference is writing {output}" in results[0].err
    assert len(output.read_text().splitlines()) == ROWS + 1


@pytest.fixture
def spoiled(dataset):
    """A list with 7 bad rows, and their reasons by line."""
    lines = (dataset / "list.csv").read_text().splitlines()
    os.remove(text_file(dataset, "1"))
    with open(text_file(dataset, "2"), "wb") as file:
        file.write(b"caf\xe9")
    os.remove(image_file(dataset, "3"))
    os.truncate(image_file(dataset, "4"), 30)
    lines[6] = "5,null,too many"
    lines[7] = '"=cmd|calc",null'
    lines[-1] = "8.0,null"
    (dataset / "list.csv").write_text("\n".join(lines) + "\n")
    return dataset, {
        3: "the text does not exist",
        4: "neither UTF-8 nor GB18030",
        5: "the image does not exist",
        6: "can't be decoded",
        7: "3 fields",
        8: "as a formula",
        ROWS + 1: "decimal point",
    }


def test_skipped_rows_are_in_a_separate_file(run_command, spoiled, tmp_path):
    dataset, reasons = spoiled
    result = infer(run_command, dataset, tmp_path / "out.csv", "--on-error", "skip")
    assert result.code == 1
    assert f"7 of {ROWS} rows could not be predicted" in result.err
    with open(tmp_path / "out.csv.errors.csv", newline="") as file:
        errors = list(csv.DictReader(file))
    assert [int(row["line"]) for row in errors] == list(reasons)
    for row, reason in zip(errors, reasons.values()):
        assert reason in row["reason"]
    assert errors[5]["guid"] == "'=cmd|calc"  # harmless in a spreadsheet
    listed = table(dataset / "list.csv")
    wanted = [row[0] for line, row in enumerate(listed, 1) if line > 1 and line not in reasons]
    predicted = table(tmp_path / "out.csv")
    assert [guid for guid, _ in predicted[1:]] == wanted
    assert names(tmp_path) == {"out.csv", "out.csv.errors.csv"}


def test_skipping_changes_no_prediction(run_command, whole, spoiled, tmp_path):
    infer(run_command, spoiled[0], tmp_path / "out.csv", "--probabilities", "--on-error", "skip")
    lines = whole("out.csv", "--probabilities").decode().splitlines()
    wanted = {guid: rest for guid, *rest in csv.reader(lines)}
    for guid, tag, *numbers in table(tmp_path / "out.csv")[1:]:
        assert tag == wanted[guid][0]
        assert list(map(float, numbers)) == pytest.approx(list(map(float, wanted[guid][1:])))


def test_a_killed_inference_with_errors_is_resumed(run_command, spoiled, tmp_path, monkeypatch):
    options = ("--on-error", "skip", "--probabilities")
    infer(run_command, spoiled[0], tmp_path / "whole.csv", *options)
    killed(run_command, monkeypatch, spoiled[0], tmp_path / "out.csv", *options, after=400)
    infer(run_command, spoiled[0], tmp_path / "out.csv", *options, "--resume")
    for name in ("{}.csv", "{}.csv.errors.csv"):
        whole, output = (tmp_path / name.format(stem) for stem in ("whole", "out"))
        assert output.read_bytes() == whole.read_bytes()


def test_a_killed_inference_with_missing_parts_is_resumed(
    run_command, dataset, tmp_path, monkeypatch
):
    """Some have no text, some no image, and some neither, which no model predicts."""
    for number in range(0, ROWS, 7):
        guid = f"g,{number}" if number % 9 == 0 else f"{number}"
        if number % 3 < 2:
            os.remove(text_file(dataset, guid))
        if number % 3 > 0:
            os.remove(image_file(dataset, guid))
    write_small_bundle(dataset / "model.onnx", optional=("text", "image"))
    options = ("--allow-missing", "--on-error", "skip", "--probabilities")
    result = infer(run_command, dataset, tmp_path / "whole.csv", *options)
    assert f"{len(range(7, ROWS, 21))} of {ROWS} rows" in result.err
    killed(run_command, monkeypatch, dataset, tmp_path / "out.csv", *options, after=400)
    infer(run_command, dataset, tmp_path / "out.csv", *options, "--resume")
    for name in ("{}.csv", "{}.csv.errors.csv"):
        whole, output = (tmp_path / name.format(stem) for stem in ("whole", "out"))
        assert output.read_bytes() == whole.read_bytes()


def test_without_bad_rows_there_is_no_file_of_errors(run_command, many, tmp_path):
    (tmp_path / "out.csv.errors.csv").write_text("of yesterday")
    result = infer(run_command, many, tmp_path / "out.csv", "--on-error", "skip")
    assert result.code == 0
    assert names(tmp_path) == {"out.csv"}


def test_after_a_full_disk_it_can_be_resumed(run_command, many, whole, tmp_path, monkeypatch):
    """A limit on the size of files simulates it."""
    output, wanted = tmp_path / "out.csv", whole("out.csv")
    output.write_text("of yesterday")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        result = killed(
            run_command, monkeypatch, many, output, after=200,
            event=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1])),
        )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert result.code == 1
    assert "File too large; when that is fixed, resume it with the same command" in result.err
    assert output.read_text() == "of yesterday"
    assert infer(run_command, many, output, "--resume").code == 0
    assert output.read_bytes() == wanted


@pytest.mark.parametrize(
    ("output", "remedy"),
    [("/dev/null", "--output"), ("list.csv", "is also an input"), ("model.onnx", "--output")],
)
def test_an_output_that_would_overwrite_an_input(run_command, dataset, output, remedy):
    path = dataset / output
    before = path.read_bytes() if path.is_file() else None
    result = infer(run_command, dataset, path)
    assert result.code == 2
    assert remedy in result.err
    assert before is None or path.read_bytes() == before


def test_a_dataset_that_disappears_is_one_error(run_command, dataset, tmp_path, monkeypatch):
    result = killed(
        run_command, monkeypatch, dataset, tmp_path / "out.csv", after=1,
        event=lambda: shutil.rmtree(dataset / "data"),
    )  # fmt: skip
    assert result.code == 2
    assert "does not exist" in result.err
    assert names(tmp_path) == set()


def test_a_damaged_key_of_an_interrupted_inference(run_command, many, tmp_path, monkeypatch):
    killed(run_command, monkeypatch, many, tmp_path / "out.csv", after=300)
    key = tmp_path / ".out.csv.part.json"
    for content in ("", "[]", json.dumps({"model": 1})):
        key.write_text(content)
        result = infer(run_command, many, tmp_path / "out.csv", "--resume")
        assert result.code == 2
        assert "without --resume it starts over" in result.err

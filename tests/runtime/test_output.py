"""The input and output of `mmsent-infer`: links, streams, stdin, and names."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmsent.errors import MmsentError
from mmsent.files.atomic import warn_once
from mmsent.predict.infer import infer as infer_list
from mmsent.predict.model import SentimentModel

from ..small_bundle import write_small_bundle

ROWS = 20
CSV = [b"guid,tag"] + [b"%d," % number for number in range(ROWS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset with a list and a bundle. Read-only."""
    folder = tmp_path_factory.mktemp("whole") / "dataset"
    (folder / "data").mkdir(parents=True)
    for number in range(ROWS):
        (folder / "data" / f"{number}.txt").write_text("rain fun a"[: number % 9])
        image = Image.new("RGB", (9, 9), (number * 12,) * 3)
        image.save(folder / "data" / f"{number}.jpg", "PNG")
    lines = ["guid,tag", *(f"{number},null" for number in range(ROWS))]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    write_small_bundle(folder / "model.onnx")
    return folder


@pytest.fixture
def dataset(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "dataset")


def infer(run_command, folder, *options, output="out.csv"):
    return run_command("mmsent-infer", "list.csv", "--output", output, *options, cwd=folder)


def process(folder, *options, **streams):
    """Run `mmsent infer` in a process whose streams a test may choose."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(
        [sys.executable, "-m", "mmsent", "infer", *options], cwd=folder, timeout=300, **streams
    )


def in_order(content):
    lines = content.splitlines()
    return len(lines) == len(CSV) and all(map(bytes.startswith, lines, CSV))


def names(folder):
    return {path.name for path in folder.iterdir()} - {"data", "list.csv", "model.onnx"}


# Links


def test_the_target_of_a_link_is_replaced(run_command, dataset):
    (dataset / "store").mkdir()
    (dataset / "store" / "real.csv").write_text("old")
    (dataset / "sub.csv").symlink_to("store/real.csv")
    assert infer(run_command, dataset, output="sub.csv").code == 0
    assert (dataset / "sub.csv").is_symlink()
    assert in_order((dataset / "store" / "real.csv").read_bytes())
    assert names(dataset) == {"store", "sub.csv"}
    assert names(dataset / "store") == {"real.csv"}


def test_errors_are_written_next_to_the_given_name(run_command, dataset):
    (dataset / "store").mkdir()
    (dataset / "sub.csv").symlink_to("store/real.csv")
    (dataset / "data" / "3.txt").unlink()
    result = infer(run_command, dataset, "--on-error", "skip", output="sub.csv")
    assert result.code == 1
    assert "sub.csv.errors.csv says why" in result.err
    assert "3.txt" in (dataset / "sub.csv.errors.csv").read_text()
    assert names(dataset / "store") == {"real.csv"}


def test_other_commands_write_to_the_target_of_a_link(run_command, dataset):
    (dataset / "store").mkdir()
    (dataset / "packed.parquet").symlink_to("store/packed.parquet")
    assert run_command("mmsent", "pack", "list.csv", "packed.parquet", cwd=dataset).code == 0
    assert (dataset / "packed.parquet").is_symlink()
    assert names(dataset / "store") == {"packed.parquet"}


def test_a_bundle_cannot_be_a_stream(run_command, trained, tmp_path):
    (tmp_path / "model.onnx").symlink_to("/proc/self/fd/1")
    result = run_command("mmsent-export", "onnx", trained, cwd=tmp_path)
    assert result.code == 2
    assert result.err == "Error: model.onnx is a stream, but this output must be a file\n"
    assert (tmp_path / "model.onnx").is_symlink()


def test_a_list_of_bad_rows_is_not_replaced_by_its_own(run_command, dataset):
    """Predicted with --on-error skip, it would be deleted as the errors of an earlier inference."""
    (dataset / "list.csv").rename(dataset / "out.csv.errors.csv")
    arguments = ["out.csv.errors.csv", "--output", "out.csv"]
    result = run_command("mmsent-infer", *arguments, "--on-error", "skip", cwd=dataset)
    assert result.code == 2
    assert result.err == "Error: out.csv.errors.csv is also an input; name another file\n"
    assert (dataset / "out.csv.errors.csv").exists()
    assert run_command("mmsent-infer", *arguments, cwd=dataset).code == 0  # writes no bad rows


def test_a_link_to_an_input_is_refused(run_command, dataset):
    (dataset / "sub.csv").symlink_to("list.csv")
    result = infer(run_command, dataset, output="sub.csv")
    assert result.code == 2
    assert "is also an input" in result.err


# Streams


@pytest.mark.parametrize("name", ["-", "link.csv"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_rows_go_to_stdout(dataset, name, kind):
    """With "-", or a link to this process's descriptor, as /dev/stdout is."""
    (dataset / "link.csv").symlink_to("/proc/self/fd/1")
    arguments = (dataset, "list.csv", "--output", name)
    if kind == "pipe":
        done = process(*arguments)
        content = done.stdout
    else:
        with open(dataset / "captured", "wb") as file:
            done = process(*arguments, stdout=file)
        content = (dataset / "captured").read_bytes()
    assert done.returncode == 0, done.stderr
    assert in_order(content)
    assert (dataset / "link.csv").is_symlink()
    assert names(dataset) - {"captured"} == {"link.csv"}


def test_rows_go_to_a_fifo(run_command, dataset):
    os.mkfifo(dataset / "pipe.jsonl")
    received = []
    reader = threading.Thread(
        target=lambda: received.append((dataset / "pipe.jsonl").read_bytes()), daemon=True
    )
    reader.start()
    result = infer(run_command, dataset, "--probabilities", output="pipe.jsonl")
    assert result.code == 0, result.err
    reader.join()
    rows = [json.loads(line) for line in received[0].splitlines()]
    assert [row["guid"] for row in rows] == [str(number) for number in range(ROWS)]
    assert names(dataset) == {"pipe.jsonl"}
    assert (dataset / "pipe.jsonl").is_fifo()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_error(dataset):
    with open("/dev/full", "wb") as full:
        done = process(dataset, "list.csv", "--output", "-", stdout=full)
    assert done.returncode == 1
    assert b"Error: stdout: No space left on device; when that is fixed, start over" in done.stderr


def test_it_ends_silently_if_the_reader_closes_the_pipe(dataset):
    reader, writer = os.pipe()
    os.close(reader)
    done = process(dataset, "list.csv", "--output", "-", stdout=writer)
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        ("-", ["--resume"], "--resume: - is a stream"),
        ("pipe", ["--resume"], "--resume: pipe is a stream"),
        ("pipe.parquet", [], "Parquet can't be written to a stream"),
        ("closed.csv", [], "the descriptor 77 is not open"),
    ],
)
def test_options_that_a_stream_does_not_support(run_command, dataset, output, options, said):
    os.mkfifo(dataset / "pipe")
    os.mkfifo(dataset / "pipe.parquet")
    (dataset / "closed.csv").symlink_to("/proc/self/fd/77")
    result = infer(run_command, dataset, *options, output=output)
    assert result.code == 2
    assert said in result.err
    assert names(dataset) == {"pipe", "pipe.parquet", "closed.csv"}


def test_failed_rows_are_printed_if_the_output_is_a_stream(dataset):
    (dataset / "data" / "3.txt").unlink()
    done = process(dataset, "list.csv", "--output", "-", "--on-error", "skip")
    assert done.returncode == 1
    assert b"list.csv line 5 (guid '3')" in done.stderr
    assert b"1 of 20 rows could not be predicted; the lines above say why" in done.stderr
    assert len(done.stdout.splitlines()) == ROWS


# A list from stdin


def as_parquet(rows):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    pq.write_table(pa.table({"guid": rows}), file)
    return file.getvalue()


LISTS = {
    "csv": lambda rows: "\n".join(["guid", *rows]).encode(),
    "json lines": lambda rows: "\n".join(json.dumps({"guid": row}) for row in rows).encode(),
    "parquet": as_parquet,
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_comes_from_stdin(dataset, kind):
    content = LISTS[kind]([str(number) for number in range(ROWS)])
    done = process(dataset, "-", "--output", "-", input=content)
    assert done.returncode == 0, done.stderr
    assert in_order(done.stdout)


def test_a_list_from_stdin_is_resumed(dataset, tmp_path):
    content = (dataset / "list.csv").read_bytes()
    arguments = ("-", "--output", "out.csv", "--data", ".")
    assert process(dataset, *arguments, input=content).returncode == 0
    finished = (dataset / "out.csv").read_bytes()
    assert process(dataset, *arguments, "--resume", input=content).returncode == 0
    assert (dataset / "out.csv").read_bytes() == finished


def test_problems_with_a_list_from_stdin_are_reported(dataset):
    content = b"guid,tag\n1,null\n99,null\n"
    done = process(dataset, "-", "--output", "-", input=content)
    assert done.returncode == 2
    assert b"stdin.csv line 3 (guid '99')" in done.stderr
    assert done.stdout == b""


# Names


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("o.CSV", b"guid,tag\n"),
        ("o.txt", b"guid,tag\n"),
        ("o", b"guid,tag\n"),
        ("o.JSONL", b'{"guid": "0"'),
        ("o.ndjson", b'{"guid": "0"'),
        ("o.PARQUET", b"PAR1"),
    ],
)
def test_the_suffix_decides_the_format(run_command, dataset, name, starts):
    assert infer(run_command, dataset, output=name).code == 0
    assert (dataset / name).read_bytes().startswith(starts)


@pytest.mark.parametrize("name", ["o.xlsx", "o.json", "o.tsv", "o.csv.gz"])
def test_an_unsupported_format_is_refused(run_command, dataset, name):
    result = infer(run_command, dataset, output=name)
    assert result.code == 2
    assert f"can't end in {Path(name).suffix}, only in .csv" in result.err
    assert names(dataset) == set()


def test_missing_folders_are_made(run_command, dataset):
    assert infer(run_command, dataset, output="no/dir/x.csv").code == 0
    assert names(dataset / "no" / "dir") == {"x.csv"}


def test_folders_are_removed_if_nothing_is_written(run_command, dataset):
    (dataset / "data" / "3.txt").unlink()
    assert infer(run_command, dataset, output="no/dir/x.csv").code == 2
    assert names(dataset) == set()


# Systems


def test_an_inference_without_locks_and_syncs(run_command, dataset, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    warn_once.cache_clear()
    monkeypatch.setattr("mmsent.files.lock.fcntl.flock", unsupported)
    monkeypatch.setattr(os, "fsync", unsupported)
    result = infer(run_command, dataset)
    assert result.code == 0
    assert result.err.count("Function not implemented") == 2  # for the lock, and for the sync
    assert names(dataset) == {"out.csv"}


@pytest.mark.parametrize("skip", [True, False])
def test_out_of_memory_is_not_an_error_in_a_row(dataset, monkeypatch, skip):
    real, opened = Image.open, []

    def fail_at_the_tenth(*arguments, **options):
        opened.append(arguments)
        if len(opened) == 10:
            raise MemoryError
        return real(*arguments, **options)

    monkeypatch.setattr(Image, "open", fail_at_the_tenth)
    arguments = (dataset / "list.csv", dataset / "model.onnx", dataset / "out.csv")
    with pytest.raises(MmsentError, match=r"(?s)not enough memory.*--resume") as error:
        infer_list(*arguments, skip=skip)
    assert error.value.exit_code == 1
    assert "out.csv.errors.csv" not in names(dataset)
    monkeypatch.undo()
    infer_list(*arguments, skip=skip, resume=True)
    assert in_order((dataset / "out.csv").read_bytes())


def test_out_of_memory_is_not_an_error_in_a_bundle(dataset, monkeypatch):
    model = SentimentModel(dataset / "model.onnx")

    class Session:
        def run(self, *arguments):
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")

    monkeypatch.setattr(model, "_bundle", replace(model._bundle, session=Session()))
    with pytest.raises(MmsentError, match="not enough memory"):
        model.predict("fun", Image.new("RGB", (9, 9)))


def test_threads_that_cannot_be_started(run_command, dataset, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for arguments in (["mmsent-infer", "list.csv"], ["mmsent", "check-data", "--data", "list.csv"]):
        result = run_command(*arguments, cwd=dataset)
        assert result.code == 1
        assert "no more threads can be started" in result.err


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["infer", "list.csv"], 0),
        (["infer", "none.csv"], 2),
        (["check-data", "--data", "list.csv", "--json"], 0),
        (["--help"], 0),
        (["fly"], 2),
    ],
)
def test_a_closed_stream_acts_like_dev_null(dataset, number, arguments, code):
    command = " ".join([sys.executable, "-m", "mmsent", *arguments])
    other = {1: 2, 2: 1}[number]
    done = subprocess.run(
        f"{command} {number}>&- {other}>captured", shell=True, cwd=dataset, timeout=300
    )
    assert done.returncode == code


def lost(kind):
    """A descriptor for stderr that takes no byte."""
    if kind == "a full disk":
        return os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe() if kind == "a pipe that is gone" else os.openpty()
    os.close(reader)
    return writer


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("kind", ["a full disk", "a pipe that is gone", "a terminal that is gone"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["infer", "list.csv", "--output", "-"], 0),
        (["infer", "none.csv"], 2),
        (["predict", "--text", "fun", "--image", "data/1.jpg", "--explain", "why.json"], 0),
        (["fly"], 2),
    ],
)
def test_a_stderr_that_takes_nothing_acts_like_dev_null(dataset, kind, arguments, code):
    """The commands that print to stderr first must still print to stdout, and their exit code."""
    command = [sys.executable, "-m", "mmsent", *arguments]
    usual = subprocess.run(command, cwd=dataset, capture_output=True, timeout=300)
    stderr = lost(kind)
    done = subprocess.run(command, cwd=dataset, stdout=subprocess.PIPE, stderr=stderr, timeout=300)
    os.close(stderr)
    assert (done.returncode, done.stdout) == (usual.returncode, usual.stdout)
    assert done.returncode == code


def test_a_file_does_not_get_the_number_of_a_closed_stream(dataset):
    """Otherwise, messages of libraries to descriptor 2 would go into the file."""
    done = subprocess.run(
        f"{sys.executable} -c 'import os, sys; sys.argv[1:] = [\"--help\"]\n"
        "from mmsent.files.console import prepare_streams\nprepare_streams()\n"
        "print(os.open(\"list.csv\", os.O_RDONLY), sys.stderr is not None)' 2>&-",
        shell=True, cwd=dataset, capture_output=True, text=True, check=True,
    )  # fmt: skip
    number, there = done.stdout.split()
    assert int(number) > 2
    assert there == "True"


@pytest.mark.parametrize(
    ("encoding", "name", "json_too"),
    [
        ("cp1252", "资料".encode(), False),
        ("latin-1", "资料".encode(), False),
        ("ascii", b"caf\xe9", False),
        ("utf-8", b"caf\xe9", False),
        ("cp1252", "资料".encode(), True),  # JSON is ASCII, whatever the terminal's encoding
        ("utf-8", b"caf\xe9", True),
    ],
)
def test_any_terminal_shows_any_name(whole, tmp_path, encoding, name, json_too):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copytree(whole, folder)
    done = subprocess.run(
        [sys.executable, "-m", "mmsent", "check-data", "--data", folder / "list.csv"]
        + ["--json"] * json_too,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if json_too:
        shown = json.loads(done.stdout.decode("ascii"))["folder"]
        assert shown == str(folder / "list.csv").encode(errors="surrogateescape").decode(
            errors="replace"
        )


def test_a_bundle_and_an_output_whose_paths_are_not_utf8(run_command, whole, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(whole, folder)
    for output in ("out.csv", "out.parquet"):
        assert infer(run_command, folder, output=output).code == 0
    assert run_command("mmsent", "pack", "list.csv", folder / "p.parquet", cwd=folder).code == 0
    assert names(folder) == {"out.csv", "out.parquet", "p.parquet"}

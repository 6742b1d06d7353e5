"""The mmsent commands and the Python in the documentation run.

They run unchanged, in a folder with the files that the pages name; options appended to trainings
make them shorter. A block after a comment `<!-- not run: REASON -->` is skipped.
Other programs (pip, docker, curl, conda, hf) are not run: they need a network or a service.
"""

import csv
import re
import shlex
import shutil
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import pytest

from ..layouts import drawn, imagefolder, json_lines, parquet, task_folder
from ..small_bundle import write_small_bundle

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r"(?:^```(?P<language>\w*)\n(?P<fenced>.*?)^```$|(?P<indented>(?:^ {4}\S[^\n]*\n)+))",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- not run: .+ -->")
PROGRAMS = ("mmsent", "mmsent-infer", "mmsent-export")
SHORTER = {
    "train": "--model light --epochs 1 --batch-size 16",
    "ablate": "--model light --epochs 1",
    "cross-validate": "--model light --epochs 1 --folds 2 --repeats 1",
}
LOSSY = "--accept-loss 100"  # of three validation pairs, one label is a third


class Block(NamedTuple):
    language: str
    lines: list[str]
    reason: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The mmsent commands as lists of words; an explanation follows after two spaces."""
        if self.language not in ("", "sh"):
            return []
        lines = (re.split(r"\s{2,}|\s#", line.strip())[0] for line in self.lines)
        return [shlex.split(line) for line in lines if line.split(" ")[0] in PROGRAMS]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        body = match["fenced"] if match["indented"] is None else match["indented"]
        found.append(Block(match["language"] or "", body.splitlines(), match["reason"]))
    assert len(MARK.findall(text)) == sum(block.reason is not None for block in found), page
    return found


def with_commands(pages):
    return [page for page in pages if any(b.commands and not b.reason for b in blocks(page))]


def name(page):
    return page.relative_to(ROOT).as_posix()


# ---- commands


def write_table(path, rows, columns, *, splits=("train", "train", "validation", "test")):
    """Write a list with these columns: each is a name, or a function of a row and its split."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for index, row in enumerate(rows):
            split = splits[index % len(splits)]
            values = [row.guid, row.text, f"data/{row.image_name}", row.label, split]
            named = dict(zip(("guid", "text", "image", "label", "split"), values))
            writer.writerow([named[role] for role in columns.values()])


def prepare(folder, run_command):
    """Make what the pages name: a dataset in every layout, runs, bundles, predictions."""

    def run(*words):
        result = run_command(*words, cwd=folder)
        assert result.code == 0, (words, result.err)

    labels = ("negative", "neutral", "positive")
    rows = drawn(folder / "drawn", labels, pairs=30)
    task_folder(folder / "task", rows)
    for path in (folder / "task").iterdir():
        path.rename(folder / path.name)
    train = (folder / "train.txt").read_text().splitlines()
    languages = ["language", *(["en", "de"] * 15)]
    (folder / "train.txt").write_text(
        "".join(f"{line},{language}\n" for line, language in zip(train, languages))
    )
    unlabelled = "".join(f"{row.guid},null\n" for row in rows[:5])
    (folder / "test_without_label.txt").write_text("guid,tag\n" + unlabelled)
    common = {"guid": "guid", "text": "text", "image": "image", "label": "label"}
    write_table(folder / "posts.csv", rows, common | {"split": "split"})
    both = {"id": "guid", "tweet": "text", "image_path": "image", "sentiment": "label"}
    write_table(
        folder / "list.csv", rows, both | {"body": "text", "mood": "label", "split": "split"}
    )
    for one in ("train.csv", "dev.csv", "more.csv"):
        write_table(folder / one, rows[:24] if one != "dev.csv" else rows[24:], common)
    for one, some in (("train.jsonl", rows[:24]), ("dev.jsonl", rows[24:])):
        json_lines(folder / f"of-{one}", some).rename(folder / one)
        shutil.copytree(folder / f"of-{one}" / "img", folder / "img", dirs_exist_ok=True)
    parquet(folder / "of-parquet", rows).rename(folder / "pairs.parquet")
    for one in ("DIR", "DATA"):
        imagefolder(folder / one, rows)
    mvsa = folder / "MVSA_Single"
    shutil.copytree(folder / "data", mvsa / "data")
    lines = (f"{row.guid}\t{row.label},{row.label}\n" for row in rows)
    (mvsa / "labelResultAll.txt").write_text("ID\ttext,image\n" + "".join(lines))
    for one in ("a.jpg", "b.jpg", "photo.jpg"):
        shutil.copy(folder / "data" / rows[0].image_name, folder / one)
    for model in ("light", "compact"):  # the second is also a light model, under this name
        run("mmsent", "train", *SHORTER["train"].split(), "--output", f"runs/{model}")
        run("mmsent-export", "onnx", f"runs/{model}", "--output", f"{model}.onnx")
    (folder / "runs" / "latest").symlink_to("light")
    shutil.copy(folder / "light.onnx", folder / "model.onnx")
    for one in ("one.csv", "another.csv"):
        run("mmsent-infer", "posts.csv", "--split", "all", "--output", one, "--probabilities")


@pytest.fixture(scope="session")
def prepared(make_once, run_command):
    return make_once("docs", lambda folder: prepare(folder, run_command))


@pytest.mark.slow
@pytest.mark.parametrize("page", with_commands(PAGES), ids=name)
def test_the_commands_of_a_page_run(page, prepared, run_command, tmp_path):
    folder = tmp_path / "docs"
    shutil.copytree(prepared, folder, symlinks=True)
    for block in blocks(page):
        for words in block.commands if block.reason is None else ():
            shorter = "" if "--resume" in words else SHORTER.get(words[1], "")
            if {"fp16", "int8"} & {*words}:
                shorter = LOSSY
            if (
                "--output" in words
                and (old := folder / words[words.index("--output") + 1]).exists()
            ):
                old.unlink()
            result = run_command(*words, *shorter.split(), cwd=folder)
            # The doctor exits with 1 if something does not work on this machine.
            assert result.code in ({0, 1} if words[1:2] == ["doctor"] else {0}), (words, result.err)


def test_most_commands_are_run():
    run, marked = 0, 0
    for page in PAGES:
        for block in blocks(page):
            run += len(block.commands) if block.reason is None else 0
            marked += len(block.commands) if block.reason is not None else 0
    assert run > 40
    assert run > 2 * marked


# ---- Python


@pytest.fixture(scope="module")
def with_bundle(tmp_path_factory, run_command):
    """A folder with a small bundle and the files that the pages' Python names."""
    folder = tmp_path_factory.mktemp("python")
    rows = drawn(folder / "drawn", ("negative", "positive"), pairs=20)
    for one, row in zip(("a.jpg", "b.jpg", "photo.jpg"), rows):
        (folder / one).write_bytes(row.image)
    write_small_bundle(folder / "model.onnx", optional=("text", "image"), embeddings=True)
    (folder / "drawn" / "some.txt").write_text(f"guid,tag\n{rows[0].guid},null\n")
    result = run_command(
        "mmsent-infer", "drawn/some.txt", "--embeddings", "--output", "predictions.parquet",
        cwd=folder,
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder


PYTHON = [
    pytest.param("\n".join(block.lines), id=f"{name(page)}: {number}")
    for page in PAGES
    for number, block in enumerate(each for each in blocks(page) if each.language == "python")
    if block.reason is None
]


@pytest.mark.parametrize("source", PYTHON)
def test_python_runs(source, with_bundle):
    with chdir(with_bundle):
        exec(compile(source, "page", "exec"), {})

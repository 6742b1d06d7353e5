"""The README's commands and Python run, and its links lead to files that exist."""

import contextlib
import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "docker/*.md", "*/README.md", "training/*/models/*.md")
    for page in ROOT.glob(pattern)
)
QUICKLY = "--model light --epochs 1"  # overrides the README's options


def blocks(language):
    """The README's code blocks in a language; "" for those without a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [body for name, body in found if name == language]


def lines_of(body):
    """The commands of a block as lists of words, without comments."""
    return [words for line in body.splitlines() if (words := shlex.split(line, comments=True))]


SHELL = [lines_of(body) for body in blocks("sh")]
(PYTHON,), (OUTPUT,) = blocks("python"), blocks("text")
OTHERS = [words for body in blocks("") for words in lines_of(body)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, run_command, bundle):
    """A folder with the files that the README names; the bundle is from a shorter training."""
    folder = tmp_path_factory.mktemp("readme")
    made = run_command("mmsent", "sample-data", "demo/dataset", cwd=folder)
    assert made.code == 0, made.err
    shutil.copy(bundle, folder / "demo" / "model.onnx")
    return folder


def read_rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def own_posts(dataset, output, rows):
    """Write labelled pairs of a dataset as the list in the README's "Your own data"."""
    moods = {"negative": "sad", "neutral": "calm", "positive": "happy"}
    labelled = read_rows(dataset / "train.txt")[:rows]
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "image", "label"])
        for row in labelled:
            image = f"demo/dataset/data/{row['guid']}.jpg"
            writer.writerow([f"post {row['guid']}", image, moods[row["tag"]]])


def test_its_length():
    assert len(README.splitlines()) <= 120


@pytest.mark.slow
def test_its_commands_run(demo, run_command):
    """Unchanged and in order; options appended to trainings make them shorter."""
    own_posts(demo / "demo/dataset", demo / "posts.csv", 60)
    own_posts(demo / "demo/dataset", demo / "new_posts.csv", 9)
    for block in SHELL:
        folder = demo
        for words in block:
            if words[0] == "cd":
                folder = folder / words[1]
                continue
            shorter = QUICKLY.split() if words[1] == "train" else []
            result = run_command(*words, *shorter, cwd=folder)
            # The doctor exits with 1 if something does not work on this machine.
            assert result.code in ({0, 1} if words[1] == "doctor" else {0}), (words, result.err)
    assert len((demo / "demo/submission.csv").read_text().splitlines()) == 51
    predictions = read_rows(demo / "predictions.csv")
    assert [row["guid"] for row in predictions] == [str(number) for number in range(1, 10)]
    assert {row["tag"] for row in predictions} <= {"sad", "calm", "happy"}


def test_every_mmsent_command_is_run():
    """They are all in blocks that the test above runs; the test below checks the others."""
    assert len(SHELL) == 2
    assert {words[0] for block in SHELL for words in block} == {
        "cd", "mmsent", "mmsent-export", "mmsent-infer",
    }  # fmt: skip
    assert {words[0] for words in OTHERS} == {"make", "source", "pip", "docker", "cd"}


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_its_other_commands_name_files_that_exist(words):
    """Other tests install, build images and run the whole demo."""
    program, *rest = words
    if program == "make":
        known = subprocess.run(
            ["make", "--dry-run", *rest], cwd=ROOT, capture_output=True, text=True
        )
        assert known.returncode == 0, known.stderr
    elif program == "pip":
        assert all((ROOT / name / "pyproject.toml").is_file() for name in rest[1:])
    elif program == "docker" and rest[0] == "build":
        recipe = (ROOT / rest[rest.index("-f") + 1]).read_text(encoding="utf-8")
        if "--target" in rest:
            assert re.search(rf"(?mi)^FROM .* AS {rest[rest.index('--target') + 1]}$", recipe)
    elif program == "docker":
        image = next(number for number, word in enumerate(rest) if word.startswith("mmsent-"))
        built = {other[other.index("-t") + 1] for other in OTHERS if "-t" in other}
        assert rest[image] in built
        arguments = shlex.join(rest[image + 1 :][:1])
        assert arguments in ("train", "infer")


def test_make_help_lists_the_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.MULTILINE)[1]
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^  make (\S+)  +\S", listed.stdout, re.MULTILINE))
    assert targets == set(phony.replace("\\", " ").split()) - {"lock-images"}  # part of lock


def run_python(folder):
    """Run the README's Python in a folder and return what it prints."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        exec(compile(PYTHON, "README.md", "exec"), {})
    return out.getvalue()


def without_figures(text):
    """Printed predictions without the predicted label and the probabilities."""
    return re.sub(r"\d\.\d+", "0.00", re.sub(r"^\w+", "label", text.strip(), flags=re.M))


def test_its_python_prints_what_it_shows_except_the_figures(demo):
    """The slow test below compares the figures, which are those of the full demo."""
    assert without_figures(run_python(demo)) == without_figures(OUTPUT)


@pytest.mark.slow
def test_the_demo_runs_and_predicts_what_it_shows(tmp_path):
    """In a copy, so that the checkout's own demo/ does not change."""
    script = tmp_path / "demo.sh"
    script.write_text((ROOT / "demo.sh").read_text())
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    passed_on = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    done = subprocess.run(
        ["bash", script], env=environment | passed_on, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "model.onnx").is_file()
    assert (tmp_path / "demo" / "runs" / "latest" / "report.md").is_file()
    assert len((tmp_path / "demo" / "submission.csv").read_text().splitlines()) == 51
    predicted, promised = run_python(tmp_path).splitlines(), OUTPUT.strip().splitlines()
    for ours, readmes in zip(predicted, promised, strict=True):
        assert ours.split()[0] == readmes.split()[0]
        # Results vary slightly with the number of threads and the processor.
        assert numbers(ours) == pytest.approx(numbers(readmes), abs=0.15)


def numbers(line):
    return [float(value) for value in re.findall(r"\d\.\d+", line)]


def anchors(page):
    """The headings of a page, as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_existing_files(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target

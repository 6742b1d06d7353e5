"""The commands in general: help, commands of other distributions, sample data."""

import csv
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from mmsent import __version__, cli, commands
from mmsent.data.folder import image_file, text_file
from mmsent.data.training import TrainingSource
from mmsent.distributions import FOLDERS
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text
from mmsent_export.cli import export


@pytest.mark.parametrize("program", ["mmsent", "mmsent-infer", "mmsent-export"])
def test_every_program_has_help(run_command, tmp_path, program):
    result = run_command(program, "--help", cwd=tmp_path, fresh=True)
    assert result.code == 0
    assert result.out.startswith(f"Usage: {program} ")


COMMANDS = [
    ["mmsent"], ["mmsent-export"], ["mmsent-infer"], ["mmsent-export", "onnx"],
    *(["mmsent", name] for name in sorted(cli.cli.list_commands(click.Context(cli.cli)))),
]  # fmt: skip


def first_sentence(help_text):
    """The first paragraph after the usage, as one line."""
    return " ".join(help_text.split("\n\n")[1].split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_and_has_examples(run_command, tmp_path, words):
    """Its first line is a sentence, and -h is --help; groups of commands have no examples."""
    shown = run_command(*words, "--help", cwd=tmp_path, env={"COLUMNS": "80"})
    assert run_command(*words, "-h", cwd=tmp_path, env={"COLUMNS": "80"}).out == shown.out
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert first_sentence(shown.out).endswith(".")
    assert len(first_sentence(shown.out)) <= 76
    if "Commands:" in lines:
        commands = lines[lines.index("Commands:") + 1 :]
        assert all(line.endswith(".") and "..." not in line for line in commands)
    else:
        examples = lines[lines.index("  Examples:") + 1 :]
        ours = " ".join(words), "-".join(words)  # mmsent infer, mmsent-infer
        assert examples
        assert all(line.strip().startswith(ours) for line in examples)


def find_command(words):
    """Split ``words`` into the command that they name and its arguments."""
    command = {"mmsent": cli.cli, "mmsent-infer": cli.infer, "mmsent-export": export}[words[0]]
    rest = words[1:]
    while rest and isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(click.Context(command), name)
    return command, rest


def examples():
    """The command lines at the end of each command's help."""
    helps = (find_command(words)[0].epilog for words in COMMANDS)
    return sorted({line.strip() for text in helps if text for line in text.splitlines()[2:]})


@pytest.mark.parametrize("line", examples())
def test_an_example_parses(line, tmp_path, monkeypatch):
    """Its options exist and accept its values. The README's tests run such commands."""
    monkeypatch.chdir(tmp_path)
    for folder in ("DIR", "runs/latest"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("posts.csv", "model.onnx", "a.jpg", "1.jpg", "2.jpg", "test_without_label.txt"):
        (tmp_path / name).touch()
    command, rest = find_command(shlex.split(line))
    assert command.make_context(command.name, rest).command is command


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_version(run_command, tmp_path, words):
    shown = run_command(*words, "--version", cwd=tmp_path)
    assert (shown.code, shown.out) == (0, f"mmsent, version {__version__}\n")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_help(words):
    command, _ = find_command(words)
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_are_finite(value):
    """click's own ranges take nan, and sometimes inf."""
    found = 0
    for words in COMMANDS:
        command, _ = find_command(words)
        for each in command.params:
            if isinstance(each.type, click.FloatRange | click.types.FloatParamType):
                found += 1
                with pytest.raises(click.BadParameter):
                    each.type.convert(value, each, click.Context(command))
    assert found >= 4


def test_help_lists_the_commands_of_every_distribution(run_command, tmp_path):
    out = run_command("mmsent", "--help", cwd=tmp_path).out
    for name in ("check-data", "evaluate", "export", "infer", "sample-data", "train"):
        assert f"\n  {name} " in out


def test_help_imports_neither_torch_nor_onnxruntime():
    code = (
        "import sys; from click.testing import CliRunner; from mmsent.cli import cli; "
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "mmsent_training" in loaded  # the test above listed them
    assert not loaded & {"torch", "onnxruntime", "transformers", "pandas", "sklearn", "numpy"}


def test_infer_starts_without_the_progress_bar_and_the_metadata_of_packages():
    """Their import would take a third of the time that mmsent's own modules take."""
    code = "import mmsent.cli, mmsent.predict.infer, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tqdm", "importlib.metadata", "torch", "mmsent_training"} & {*done.stdout.split()}


@pytest.mark.parametrize("name", commands.ELSEWHERE)
def test_without_its_distribution_a_command_says_what_to_install(monkeypatch, name):
    monkeypatch.setattr(commands, "find_commands", lambda *_: [])
    result = CliRunner().invoke(cli.cli, [name])
    assert result.exit_code == 2
    assert f"pip install ./{FOLDERS[commands.ELSEWHERE[name]]}` in" in result.output


def test_an_unknown_command_is_refused(run_command, tmp_path):
    result = run_command("mmsent", "fly", cwd=tmp_path)
    assert result.code == 2
    assert "No such command 'fly'" in result.err


def test_sample_data_depends_only_on_the_seed(run_command, tmp_path):
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        arguments = ("--pairs", 20, "--seed", seed)
        run_command("mmsent", "sample-data", name, *arguments, cwd=tmp_path)
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one != other


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_sample_data_says_that_it_is_synthetic(run_command, tmp_path):
    result = run_command("mmsent", "sample-data", "new", "--pairs", 30, cwd=tmp_path)
    assert "synthetic" in result.err
    assert "synthetic" in (tmp_path / "new" / "README.md").read_text()
    assert len(TrainingSource(tmp_path / "new").read().train) == 30


def test_sample_data_says_what_carries_the_label(sample):
    """The words are in the text; the patch is the most colourful part of the image."""
    with open(sample / "signals.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 90
    coloured = 0
    for row in rows:
        text, _ = decode_text(Path(text_file(sample, row["guid"])).read_bytes())
        assert all(word in text for word in row["words"].split())
        pixels = load_image(image_file(sample, row["guid"]), ImageSettings(100)).astype(int)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        left, top, right, bottom = (
            round(100 * float(row[edge])) for edge in ("left", "top", "right", "bottom")
        )
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 100
        inside = np.zeros((100, 100), bool)
        inside[top:bottom, left:right] = True
        if spread.max() > 60:  # else it is stored in grey
            coloured += 1
            assert spread[inside].mean() > 1.5 * spread[~inside].mean()
    assert coloured > 60


@pytest.mark.parametrize(
    "command", [["sample-data"], ["train", "--model", "light", "--data", ".", "--output"]]
)
@pytest.mark.parametrize("place", ["dataset", "link", "nowhere"])
def test_a_new_folder_overwrites_nothing(run_command, sample, tmp_path, command, place):
    """Neither a folder with files, nor a link to one, nor a broken link."""
    target = {"dataset": sample, "link": tmp_path / "link", "nowhere": tmp_path / "nowhere"}[place]
    (tmp_path / "link").symlink_to(sample)
    (tmp_path / "nowhere").symlink_to("none")
    result = run_command("mmsent", *command, target, cwd=sample)
    assert result.code == 2
    assert result.err == f"Error: {target} exists and is not an empty folder; name another one\n"


@pytest.mark.parametrize("program", ["mmsent", "mmsent-export"])
def test_a_program_without_arguments_prints_its_help(run_command, tmp_path, program):
    alone = run_command(program, cwd=tmp_path)
    assert alone.code == 0
    assert alone.out == run_command(program, "--help", cwd=tmp_path).out


def test_the_package_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mmsent", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0
    assert done.stdout.startswith("mmsent, version ")


@pytest.mark.parametrize(
    ("arguments", "path", "code", "said"),
    [([], "", 1, "mmsent is not on PATH"), (["none"], None, 2, "none does not exist")],
)
def test_the_demo_checks_before_it_deletes(tmp_path, arguments, path, code, said):
    shutil.copy(Path(__file__).parents[2] / "demo.sh", tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "realpath", "rm", "mkdir"):
        (programs / name).symlink_to(shutil.which(name))
    env = {**os.environ} if path is None else {"PATH": str(programs)}
    done = subprocess.run(
        [shutil.which("bash"), "demo.sh", *arguments],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr
    assert (tmp_path / "demo" / "mine").exists()

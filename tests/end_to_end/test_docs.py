"""The documentation names commands, options, files and tests that exist.

click parses the commands without running them. test_readme.py runs the README's commands and
checks all links.
"""

import re
import shlex
from pathlib import Path

import click
import pytest

from ..command import find_program

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "docker/*.md", "training/*/models/*.md")
    for page in ROOT.glob(pattern)
)
PROGRAM = re.compile(r"(?:^|\s)(mmsent-infer|mmsent-export|mmsent|-m mmsent_training)(?=\s|$)")
CONTAINER = re.compile(r"\bmmsent-(?:cuda|cpu|runtime)(?= [a-z])")  # its program is mmsent


def commands_on(text: str) -> list[str]:
    """The mmsent commands in a page's code blocks and inline code, without comments."""
    fenced = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks, prose = fenced.findall(text), fenced.sub("", text)
    blocks += re.findall(r"^ {4,}(?=\S)(.*)$", prose, re.MULTILINE)
    blocks += re.findall(r"`([^`]+)`", prose)
    found = []
    for line in "\n".join(blocks).replace("\\|", "|").splitlines():
        line = CONTAINER.sub("mmsent", re.split(r"\s{2,}|\s#", line.removeprefix("$ "))[0])
        if (program := PROGRAM.search(line)) and re.match(
            r"docker|torchrun|mmsent(?! [A-Z])", line
        ):
            found.append(line[program.start(1) :].replace("-m mmsent_training", "mmsent train"))
    return found


def parse(line: str) -> None:
    """Raises click.UsageError if a command, an option or its choice does not exist."""
    program, *words = shlex.split(line)
    # A command keeps the help option of its first context, which has -h.
    command = find_program(program)
    context = click.Context(command, **command.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
    values, left, _ = command.make_parser(context).parse_args([*words])
    if left and not isinstance(command, click.Group):
        raise click.UsageError(f"unexpected words: {left}")
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)


EVERY = [
    pytest.param(line, id=f"{page.relative_to(ROOT).as_posix()}: {line}")
    for page in PAGES
    for line in dict.fromkeys(commands_on(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("line", EVERY)
def test_a_command_exists(line: str) -> None:
    pytest.importorskip("mmsent_training")
    pytest.importorskip("mmsent_export")
    parse(line)


def command_lines(page: Path) -> list[str]:
    """The mmsent commands in a page's code blocks, in order, without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|powershell)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    lines = [re.split(r"\s{2,}|\s#", line)[0].strip() for line in "\n".join(blocks).splitlines()]
    return [line for line in lines if re.search(r"\bmmsent(?:-infer|-export)?\b", line)]


CHINESE = [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh").glob("*.md"))]


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_chinese_pages_have_the_commands_of_the_english_ones(page: Path) -> None:
    others = [other for other in PAGES if other not in CHINESE]
    english = {line for other in others for line in command_lines(other)}
    english |= {line for other in others for line in commands_on(other.read_text("utf-8"))}
    found = command_lines(page)
    assert found
    assert [line for line in found if line not in english] == []


def test_the_chinese_readme_has_the_blocks_of_the_english_one() -> None:
    """All except those about Docker, in the same order; only comments differ."""

    def blocks(page: Path) -> list[str]:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        return [re.sub(r"\s+#.*", "", block) for block in found if "docker" not in block]

    assert blocks(ROOT / "README.zh-CN.md") == blocks(ROOT / "README.md")


def test_commands_are_found_in_blocks_and_inline() -> None:
    page = (
        "Run `mmsent train --epochs 2`, not `mmsent.ray`.\n\n    mmsent-infer a.csv   # comment\n\n"
        "```\n$ mmsent doctor\nmmsent doctor --json      what it does\nmake demo\n  mmsent 3.5\n"
        "docker run -v .:/work mmsent-cpu export onnx\n"
        "torchrun --nproc-per-node 2 -m mmsent_training --data D\n```\n"
    )
    assert set(commands_on(page)) == {
        "mmsent train --epochs 2", "mmsent-infer a.csv", "mmsent doctor", "mmsent doctor --json",
        "mmsent export onnx", "mmsent train --data D",
    }  # fmt: skip
    assert len(EVERY) > 60


@pytest.mark.parametrize(
    "line",
    [
        "mmsent trian", "mmsent train --epoch-count 3", "mmsent train --model great",
        "mmsent train runs/latest", "mmsent-export onxx", "mmsent-infer a.csv b.csv",
    ],
)  # fmt: skip
def test_a_misspelled_command_fails(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_tests_that_a_page_names_exist(page: Path) -> None:
    code = re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8"))
    folders = "benchmarks|docker|docs|examples|tests|training"
    paths = [word for word in code if re.fullmatch(rf"(?:{folders})/[\w/.-]+", word)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    files = {file.name: file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/*.py")}
    for word in code:
        if named := re.fullmatch(r"(?:(test_\w+\.py)(?:::)?)?(test_\w+)?…?", word):
            file, test = named.groups()
            assert file is None or file in files, word
            searched = [files[file]] if file else files.values()
            assert test is None or any(f"def {test}" in source for source in searched), word

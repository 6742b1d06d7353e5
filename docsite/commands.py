"""The reference of all commands, from their own help."""

import re
from collections.abc import Iterator

import click

from mmsent.cli import cli
from mmsent.help import HEADINGS, OTHERS

INTRODUCTION = """# Commands

`mmsent-infer` is the same as `mmsent infer`, and `mmsent-export` the same as `mmsent export`.
Every command also has `--help` (`-h`) and `--version`. Exit codes: 0 success, 1 failure, 2 wrong
usage or bad input.
"""


def describe_commands() -> str:
    """The page, as Markdown: a section for each command."""
    return INTRODUCTION + "".join(_sections(cli, click.Context(cli, info_name="mmsent")))


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _sections(command, inner)
        else:
            yield _section(command, inner)


def _section(command: click.Command, context: click.Context) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"\n## {context.command_path}\n", f"    {' '.join(usage.split())}\n"]
    lines += [_plain(part) + "\n" for part in (command.help or "").split("\n\n")]
    groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if isinstance(option, click.Option) and record and option.name not in ("help", "version"):
            groups[getattr(option, "group", OTHERS)].append(record)
    for heading, records in groups.items():
        if records:
            lines += [f"| {heading} | |", "| --- | --- |"]
            lines += [f"| `{names}` | {_plain(text)} |" for names, text in records]
            lines.append("")
    examples = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    return "\n".join([*lines, "```sh", *examples, "```", ""])


def _plain(text: str) -> str:
    """``text`` on one line, as Markdown, in which it may have code in backticks."""
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")

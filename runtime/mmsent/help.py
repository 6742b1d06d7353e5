"""The help of every command: options in groups, examples, -h and --version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mmsent import __version__

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OTHERS = "Other options"
HEADINGS = ("Data", "Model", "Training", "Service", "Checks", "Output", OTHERS)
"""The headings under which help groups a command's options, in this order."""

version = click.version_option(__version__, prog_name="mmsent")


class GroupedOption(click.Option):
    """An option that help shows under a heading."""

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


def option(*names: str, group: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """`click.option` under the heading ``group``, one of `HEADINGS`."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def given(context: click.Context, name: str) -> bool:
    """Whether an option was given, not left at its default."""
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


class HelpCommand(click.Command):
    """A command with -h, --version and ``examples``: command lines at the end of its help."""

    def __init__(self, name: str | None, *, examples: str, **settings: Any) -> None:
        lines = [f"  {line}" for line in examples.splitlines()]
        super().__init__(
            name,
            epilog="\n".join(["\b", "Examples:", *lines]),
            context_settings={"help_option_names": ["-h", "--help"]},
            **settings,
        )
        version(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                groups[getattr(parameter, "group", OTHERS)].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

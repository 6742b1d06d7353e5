"""The group of commands `mmsent`: this distribution's, and those of the installed others."""

from __future__ import annotations

from importlib.metadata import entry_points

import click

from mmsent.distributions import install_command
from mmsent.help import HelpCommand

COMMAND_GROUP = "mmsent.commands"
"""The entry-point group through which other distributions add their subcommands."""

ELSEWHERE = {
    "train": "mmsent-training",
    "ablate": "mmsent-training",
    "evaluate": "mmsent-training",
    "compare": "mmsent-training",
    "download-clip": "mmsent-training",
    "export": "mmsent-export",
}
"""Subcommands that other distributions bring."""


class Commands(click.Group):
    """This distribution's subcommands and those of the installed others."""

    command_class = HelpCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        installed = {point.name for point in entry_points(group=COMMAND_GROUP)}
        return sorted(installed | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if command := super().get_command(ctx, name):
            return command
        for point in entry_points(group=COMMAND_GROUP, name=name):
            loaded: click.Command = point.load()
            return loaded
        if name in ELSEWHERE:
            raise click.UsageError(
                f"`mmsent {name}` is part of {ELSEWHERE[name]}, which is not installed here\n"
                f"Run {install_command(ELSEWHERE[name])}"
            )
        return None

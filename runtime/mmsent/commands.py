"""The command group `mmsent`: the runtime's subcommands and those of other distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmsent.distributions import install_command
from mmsent.help import HelpCommand

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

COMMAND_GROUP = "mmsent.commands"
"""The entry-point group for the subcommands of other distributions."""

ELSEWHERE = {
    "train": "mmsent-training",
    "ablate": "mmsent-training",
    "cross-validate": "mmsent-training",
    "evaluate": "mmsent-training",
    "compare": "mmsent-training",
    "download-clip": "mmsent-training",
    "export": "mmsent-export",
}
"""The distribution of each subcommand that is not part of the runtime."""


class Commands(click.Group):
    """The runtime's subcommands and those of the installed distributions."""

    command_class = HelpCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        installed = {point.name for point in find_commands()}
        return sorted(installed | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if command := super().get_command(ctx, name):
            return command
        for point in find_commands(name):
            loaded: click.Command = point.load()
            return loaded
        if name in ELSEWHERE:
            raise click.UsageError(
                f"`mmsent {name}` is part of {ELSEWHERE[name]}, which is not installed here\n"
                f"Run {install_command(ELSEWHERE[name])}"
            )
        return None


def find_commands(name: str | None = None) -> EntryPoints:
    """The subcommands that other distributions declare, or only the one of a ``name``."""
    from importlib.metadata import entry_points  # its import is slow, and few commands need it

    points = entry_points(group=COMMAND_GROUP)
    return points if name is None else points.select(name=name)

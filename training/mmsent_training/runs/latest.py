"""runs/latest, the newest finished run: a link, or a text file if links are not supported."""

import logging
import os
from pathlib import Path
from typing import Any

import click

from mmsent.files.atomic import replace

RUNS = Path("runs")
LATEST = RUNS / "latest"
_MAX_NAME = 1 << 12

logger = logging.getLogger(__name__)


def point_latest(folder: Path) -> None:
    """Point runs/latest to ``folder``, which is in runs/. If that fails, log a warning."""
    name = os.path.relpath(folder, RUNS)
    part = LATEST.with_name(f".latest.{os.getpid()}")
    try:
        part.unlink(missing_ok=True)
        try:
            part.symlink_to(name, target_is_directory=True)
        except (OSError, NotImplementedError):
            part.write_bytes(os.fsencode(name))
        replace(part, LATEST)
    except OSError as error:
        part.unlink(missing_ok=True)
        logger.warning(f"{LATEST} can't point to {folder} ({error.strerror}); name the run instead")


def follow_latest(folder: Path) -> Path:
    """The run that ``folder`` names, if it is a text file such as runs/latest, or itself."""
    if not folder.is_file():
        return folder
    with open(folder, "rb") as file:
        name = os.fsdecode(file.read(_MAX_NAME)).strip()
    named = folder.parent / name
    return named if name and os.path.isdir(named) else folder


class RunFolder(click.Path):
    """The type of an argument that names a run, such as runs/latest: see `follow_latest`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The run's folder."""
        return follow_latest(Path(os.fsdecode(super().convert(value, param, ctx))))

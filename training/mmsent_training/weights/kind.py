"""A kind of checkpoints, such as CLIP's, and its words in messages."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass


def _download(name: str, folder: str | None) -> list[str]:
    return ["hf", "download", name, *(["--local-dir", folder] if folder else [])]


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoints. ``types``: the model types, as config.json names them.

    ``option``: the option that names one, without its dashes. ``descriptions``: the files next to
    the weights, from the model type and a function that returns whether the checkpoint has a file.
    ``download``: the words of the command that downloads a name, into a folder if one is given.
    ``instead``: how to train without such a checkpoint. ``default``: a name that always works.
    """

    option: str
    types: tuple[str, ...]
    descriptions: Callable[[str, Callable[[str], bool]], list[str]]
    download: Callable[[str, str | None], list[str]] = _download
    instead: str = "train with weights that are here: --model compact"
    default: str | None = None

    @property
    def flag(self) -> str:
        """The option as a command line has it."""
        return f"--{self.option.replace('_', '-')}"

    def download_command(self, name: str, folder: str | None = None) -> str:
        """The command that downloads the checkpoint ``name``."""
        return f"`{shlex.join(self.download(name, folder))}`"

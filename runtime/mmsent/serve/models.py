"""The served bundles, by name, and reloading them while requests are answered."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsent.bundle.info import Device
from mmsent.bundle.seal import is_whole
from mmsent.errors import InputError
from mmsent.files.bounded import open_file
from mmsent.predict.model import SentimentModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Loaded:
    """An opened bundle. ``sha256``: of the file, as ``sha256sum`` prints it.

    If there are several cores, it is open twice: parallel batches are faster with one core each, a
    single pair with all of them.
    """

    name: str
    path: Path
    sha256: str
    on_one_core: SentimentModel
    on_all_cores: SentimentModel


@dataclass(frozen=True)
class Source:
    """The path of a bundle, and the name under which it is served."""

    name: str
    path: Path


def parse_sources(arguments: Sequence[str]) -> list[Source]:
    """Parse ``FILE`` or ``NAME=FILE`` arguments; the name of a bare FILE is its stem.

    Raises InputError if a name can't be part of a URL's path, or is given twice.
    """
    sources: list[Source] = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or os.path.exists(argument):
            name, path = Path(argument).stem, argument
        if not name or not path or not all(char.isalnum() or char in "-_." for char in name):
            raise InputError(
                f"{argument}: a model's name consists of letters, digits, '-', '_' and '.'; "
                "give NAME=FILE"
            )
        if any(source.name == name for source in sources):
            raise InputError(f"two models have the name {name}; give NAME=FILE for one of them")
        sources.append(Source(name, Path(path)))
    return sources


class Models:
    """The served bundles. `reload` replaces all of them at once; readers need no lock."""

    def __init__(self, sources: Sequence[Source], *, threads: int, device: Device) -> None:
        """Open all bundles. Raises InputError if one can't be served."""
        self._sources = tuple(sources)
        self._threads = threads
        self._device: Device = device
        self._loaded: Mapping[str, Loaded] = self._open({})

    def reload(self) -> list[str]:
        """Open the bundles whose files have changed, and switch to them; returns their names.

        Raises InputError if one can't be served; then none is replaced. It takes seconds: call it
        in a thread.
        """
        before = self._loaded
        self._loaded = self._open(before)
        return [name for name, loaded in self._loaded.items() if before[name] is not loaded]

    def get(self, name: str | None = None) -> Loaded | None:
        """The model of that name; None: the first one. Returns None if there is no such model."""
        return self._loaded.get(self._sources[0].name if name is None else name)

    def __iter__(self) -> Iterator[Loaded]:
        return iter(self._loaded.values())

    def _open(self, before: Mapping[str, Loaded]) -> Mapping[str, Loaded]:
        loaded = {}
        for source in self._sources:
            known = before.get(source.name)
            digest = _digest(source.path)
            if known is None or known.sha256 != digest:
                known = _open(source, digest, threads=self._threads, device=self._device)
            loaded[source.name] = known
        return loaded


def _open(source: Source, digest: str, *, threads: int, device: Device) -> Loaded:
    """Open a bundle. Raises InputError if it is damaged or incomplete."""
    one = SentimentModel(source.path, threads=1, device=device)
    every = one
    if threads > 1:
        every = SentimentModel(source.path, threads=threads, device=device)
    if one.identity and not is_whole(source.path):
        raise InputError(
            f"{source.path} is damaged or incomplete: its checksum differs from the one stored at "
            "export"
        )
    if _digest(source.path) != digest:
        raise InputError(f"{source.path} changed while it was read; try again when it is complete")
    logger.info("%s: %s, SHA-256 %s", source.name, source.path, digest)
    return Loaded(source.name, source.path, digest, one, every)


def _digest(path: Path) -> str:
    if not path.exists():
        raise InputError(f"{path} does not exist; `mmsent-export onnx` writes a bundle")
    try:
        with open_file(path, str(path)) as file:  # a named pipe would block
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None

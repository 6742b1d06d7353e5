"""Resolve an output path: to a file, behind any links, or to a stream.

Replacing a link would leave its target unchanged. Replacing /dev/stdout, which root can do, would
remove it for every process on the machine.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mmsent.errors import InputError

STDOUT = Path("-")
"""The name of standard output, as in other programs."""
_DEVICES, _PROCESSES = Path("/dev"), Path("/proc")
_MAX_LINKS = 40  # the limit of Linux


def find_file(path: Path) -> Path:
    """The file at ``path``, with symbolic links resolved; it need not exist.

    Raises InputError if it is a stream, not a regular file, or belongs to the system.
    """
    target = _follow(path)
    if is_stream(path):
        raise InputError(f"{path} is a stream, but this output must be a file")
    assert isinstance(target, Path)
    return target


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a stream: "-", /dev/stdout, /dev/fd/N, a link to one of them, or a FIFO.

    Raises InputError if it is neither a stream nor a file that may be replaced.
    """
    if path == STDOUT:
        return True
    target = _follow(path)
    if isinstance(target, int):
        return True
    try:
        mode = target.stat().st_mode
    except OSError:
        mode = stat.S_IFREG
    if stat.S_ISFIFO(mode):
        return True
    if _is_systems(target) or not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file; --output names one, a pipe, or - (stdout)")
    return False


def open_stream(path: Path) -> BinaryIO:
    """Open a stream (see `is_stream`) for writing; a FIFO waits for its reader.

    Raises InputError if the descriptor is not open, and OSError for other errors.
    """
    target = 1 if path == STDOUT else _follow(path)
    if isinstance(target, Path):
        return open(target, "wb")
    try:
        # Files that this process opened are not inheritable (PEP 446). A descriptor that was closed
        # at start-up may have been reused for one of them.
        if os.get_inheritable(target):
            return open(os.dup(target), "wb")
    except OSError:
        pass
    raise InputError(f"{path}: the descriptor {target} is not open")


def check_folder(folder: Path) -> None:
    """Raises InputError if ``folder`` is one of the system's own, or in one."""
    if _is_systems(Path(os.path.realpath(folder)) / "file"):
        raise InputError(f"{folder} belongs to the system; name another folder")


def check_empty(folder: Path) -> None:
    """Raises InputError if ``folder`` is the system's, or exists and is not an empty folder."""
    check_folder(folder)
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name another one")


@contextmanager
def parents_of(path: Path) -> Iterator[None]:
    """Create the parent folders of ``path``; if the block raises, remove the created ones."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path.parent)) from None
    try:
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _is_systems(target: Path) -> bool:
    """Whether ``target``, which has no links, is in /dev or /proc."""
    shared = _DEVICES / "shm"  # an ordinary folder in memory
    return bool({_DEVICES, _PROCESSES} & {*target.parents}) and shared not in target.parents


def _follow(path: Path) -> Path | int:
    """Follow the links at ``path`` to a path, or to an open descriptor of this process."""
    place = str(path)
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(place)
        folder = os.path.realpath(folder or ".")
        if name.isdecimal() and folder in _descriptors():
            return int(name)
        place = os.path.join(folder, name)
        try:
            place = os.path.join(folder, os.readlink(place))
        except OSError:  # not a link
            return Path(place)
    raise InputError(f"{path} is a symbolic link to itself")


def _descriptors() -> set[str]:
    """The folders that list this process's descriptors."""
    places = (_DEVICES / "fd", _PROCESSES / "self" / "fd")
    return {os.path.realpath(place) for place in places}

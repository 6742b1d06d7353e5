"""Where an output goes: the file behind the links that lead to it, or a stream.

Replacing a link would leave what it leads to as it was; replacing /dev/stdout, as root may, would
take it from every process of the machine.
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
_MAX_LINKS = 40  # as Linux has it


def find_file(path: Path) -> Path:
    """The file that writing to ``path`` writes, behind symbolic links; it need not be there yet.

    Raises InputError where that is a stream, something else than a file, or belongs to the system.
    """
    target = _follow(path)
    if is_stream(path):
        raise InputError(f"{path} is a stream, and this output must be a file: name one")
    assert isinstance(target, Path)
    return target


def is_stream(path: Path) -> bool:
    """Whether ``path`` is written from its beginning to its end: a pipe, or an open descriptor.

    Those are "-", /dev/stdout, /dev/fd/N, what links lead there, and FIFOs. Raises InputError where
    it is neither a stream nor a file that may be replaced.
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
    shared = _DEVICES / "shm"  # an ordinary folder, in memory
    inside = {_DEVICES, _PROCESSES} & {*target.parents} and shared not in target.parents
    if inside or not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file; --output names one, a pipe, or - (stdout)")
    return False


def open_stream(path: Path) -> BinaryIO:
    """Open a stream (see `is_stream`) to write; a FIFO waits for its reader.

    Raises InputError where the descriptor is not open, and OSError.
    """
    target = 1 if path == STDOUT else _follow(path)
    if isinstance(target, Path):
        return open(target, "wb")
    try:
        # What this process has opened itself is not inheritable (PEP 446): a number that was closed
        # when it began may be anything by now.
        if os.get_inheritable(target):
            return open(os.dup(target), "wb")
    except OSError:
        pass
    raise InputError(f"{path}: the descriptor {target} is not open")


def check_empty(folder: Path) -> None:
    """Raises InputError where ``folder`` holds something, or is none: what is new goes there."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name another one")


@contextmanager
def parents_of(path: Path) -> Iterator[None]:
    """Make the folders that ``path`` lies in; if the block raises, those it made go if empty."""
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


def _follow(path: Path) -> Path | int:
    """What ``path`` leads to, link by link: a path, or an open descriptor of this process."""
    place = str(path)
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(place)
        folder = os.path.realpath(folder or ".")
        if name.isdecimal() and folder in _descriptors():
            return int(name)
        place = os.path.join(folder, name)
        try:
            place = os.path.join(folder, os.readlink(place))
        except OSError:  # no link
            return Path(place)
    raise InputError(f"{path} is a symbolic link that leads to itself")


def _descriptors() -> set[str]:
    """The folders whose files are this process's descriptors."""
    places = (_DEVICES / "fd", _PROCESSES / "self" / "fd")
    return {os.path.realpath(place) for place in places}

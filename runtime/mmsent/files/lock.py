"""A lock between processes, which the system releases when its holder ends or is killed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmsent.errors import InputError
from mmsent.files.atomic import UNSUPPORTED, warn_once

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_CREAT
_FLAGS |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)  # not on Windows
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}  # the last two: Windows


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs, and delete it afterwards.

    If the file system does not support locks, a warning says so, and the block runs without one.
    Raises InputError(``message``) if another process holds it.
    """
    while True:
        file = os.open(path, _FLAGS, 0o644)
        try:
            _take(file)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                warn_once(
                    f"{path} can't be locked ({error.strerror}): make sure that no other process "
                    "writes to the same place"
                )
                break
            os.close(file)
            if error.errno in _HELD:
                raise InputError(message) from None
            error.filename = str(path)
            raise
        if _is_at(file, path):
            break
        os.close(file)  # its holder ended and deleted it in the meantime
    try:
        yield
    finally:
        _release(file, path)


def _take(file: int) -> None:
    """Lock an open file. Raises OSError if another process holds the lock."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _release(file: int, path: Path) -> None:
    if fcntl:
        path.unlink(missing_ok=True)  # before unlocking, so that the next process creates its own
        os.close(file)
    else:
        os.close(file)
        with suppress(OSError):  # Windows does not delete a file that the next process has open
            path.unlink()


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False

"""One process at a time: a lock that the system drops when its holder ends, even if killed."""

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
    """Hold the lock file ``path`` while the block runs; it is there no longer than that.

    Where the file system has no locks, that is said once, and the block runs without one.
    Raises InputError(``message``) where another process holds it.
    """
    while True:
        file = os.open(path, _FLAGS, 0o644)
        try:
            _take(file)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                warn_once(
                    f"{path} can't be locked ({error.strerror}): start nothing else that writes "
                    "there, since two processes would not notice each other"
                )
                break
            os.close(file)
            if error.errno in _HELD:
                raise InputError(message) from None
            error.filename = str(path)
            raise
        if _is_at(file, path):
            break
        os.close(file)  # its holder ended, and removed it, in between
    try:
        yield
    finally:
        _release(file, path)


def _take(file: int) -> None:
    """Lock an open file. Raises OSError where another process has."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _release(file: int, path: Path) -> None:
    if fcntl:
        path.unlink(missing_ok=True)  # before it is unlocked: the next one makes its own
        os.close(file)
    else:
        os.close(file)
        with suppress(OSError):  # Windows removes no file that the next one has open
            path.unlink()


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False

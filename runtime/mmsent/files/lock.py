"""One process at a time: a lock that the system drops when its holder ends, even if killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsent.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; it is there no longer than that.

    Raises InputError(``message``) where another process holds it.
    """
    if fcntl is None:
        yield
        return
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise InputError(message) from None
        except OSError:
            os.close(file)
            raise
        if _is_at(file, path):
            break
        os.close(file)  # its holder ended, and removed it, in between
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is unlocked: the next one makes its own
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False

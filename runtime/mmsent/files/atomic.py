"""Files that appear under their final name only when they are whole."""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from mmsent.files.destination import find_file, parents_of

UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""How file systems say that they don't have a call at all."""

_IN_USE = (5, 32)  # Windows: access denied, sharing violation
_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds; a virus scanner takes one or two

logger = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path next to the file at ``path`` to write to; rename it when the block succeeds.

    A link at ``path`` stays, and what it leads to is replaced; folders that lack are made.
    If the block raises, what it wrote is removed and a file that was at ``path`` stays as it was.
    An OSError that names no file, such as that of a full disk, then names ``path``.
    Raises InputError where ``path`` is no file that may be replaced: see `find_file`.
    """
    target = find_file(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with parents_of(target):
        try:
            yield part
            with open(part, "rb+") as file:  # Windows syncs only what may be written
                sync(file)
            replace(part, target)
        except BaseException as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)
            raise


def sync(file: BinaryIO) -> None:
    """Have the system write down what is in an open file, where its file system can.

    Raises OSError where that fails.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once(
            f"the file system can't sync files ({error.strerror}): what was just written there may "
            "be lost if the machine crashes"
        )


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; where a program has that open on Windows, wait for it.

    Raises OSError.
    """
    for delay in (*_DELAYS, None):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            if delay is None:
                reason = "another program has it open; close that"
                raise PermissionError(error.errno, reason, str(target)) from None
            time.sleep(delay)


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process did already."""
    logger.warning(message)

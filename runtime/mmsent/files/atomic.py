"""Files that get their final name only when they are complete."""

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
"""Errors of file systems that do not support a call."""

_IN_USE = (5, 32)  # Windows: access denied, sharing violation
_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds; a virus scanner takes one or two

logger = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` if the block succeeds.

    If ``path`` is a link, its target is replaced. Missing folders are created. If the block
    raises, the temporary file is deleted, and an existing file at ``path`` stays unchanged. An
    OSError without a file name, such as that of a full disk, gets the name ``path``.
    Raises InputError if ``path`` may not be replaced: see `find_file`.
    """
    target = find_file(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with parents_of(target):
        try:
            yield part
            with open(part, "rb+") as file:  # Windows syncs only files that are open for writing
                sync(file)
            replace(part, target)
        except BaseException as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)
            raise


def sync(file: BinaryIO) -> None:
    """Sync an open file to disk, if its file system supports that.

    Raises OSError if it fails.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once(
            f"the file system can't sync files ({error.strerror}): data that was just written may "
            "be lost if the machine crashes"
        )


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; on Windows, wait while another program has it open.

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
                reason = "another program has it open; close that program"
                raise PermissionError(error.errno, reason, str(target)) from None
            time.sleep(delay)


@cache
def warn_once(message: str) -> None:
    """Log a warning once per process."""
    logger.warning(message)

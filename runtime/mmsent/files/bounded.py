"""Opening files that strangers name or made: regular files only, of bounded size."""

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from mmsent.errors import InputError
from mmsent.files.shortage import raise_shortage

MAX_TEXT_BYTES = 1 << 20
"""Larger texts are refused."""
MAX_IMAGE_BYTES = 1 << 26
"""Larger image files are refused."""

# Without blocking: opening a named pipe would wait for a writer, perhaps forever.
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK")
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


def open_file(path: str | os.PathLike[str], what: str, *, inside: Path | None = None) -> BinaryIO:
    """Open a regular file to read; ``what`` names it in messages ("the text").

    With ``inside``, a dataset folder, ``path`` is GUID.txt or GUID.jpg in its data folder, and may
    be a symbolic link only to somewhere in it (``data`` itself may be a link to anywhere). Links
    cost nothing where there are none: only an open that meets one looks further.
    Raises InputError where it does not exist, is something else, or leads out.
    """
    try:
        try:
            if inside and not _NO_LINK and os.path.islink(path):
                raise OSError(errno.ELOOP, "a symbolic link", path)  # as O_NOFOLLOW has it
            descriptor = os.open(path, _FLAGS | (_NO_LINK if inside else 0))
        except OSError as error:
            if inside is None or error.errno != errno.ELOOP:
                raise
            real = os.path.realpath(path)
            if not _is_inside(inside, real):
                raise InputError(
                    f"{what} is a symbolic link that leads out of the dataset folder"
                ) from None
            descriptor = os.open(real, _FLAGS | _NO_LINK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{what} is not a regular file")
        return open(descriptor, "rb")
    except InputError:  # a ValueError, too
        raise
    except FileNotFoundError:
        raise InputError(f"{what} does not exist") from None
    except ValueError as error:
        raise InputError(f"{what} can't be read ({_no_name(error)})") from None
    except OSError as error:
        raise_shortage(error)
        raise InputError(f"{what} can't be read ({error.strerror})") from None


def create_file(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """Open a file to write, "r+b" or "ab", and make it where it is not there; links are refused.

    Raises OSError.
    """
    flags = os.O_APPEND if mode == "ab" else 0
    flags |= os.O_RDWR | os.O_CREAT | _NO_LINK
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if not _NO_LINK and path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link", str(path))
    return cast(BinaryIO, open(os.open(path, flags, 0o666), mode, buffering))


def read_file(
    path: str | os.PathLike[str], what: str, *, limit: int, inside: Path | None = None
) -> bytes:
    """The content of a file, as open_file opens it.

    Raises InputError also where it holds more than ``limit`` bytes.
    """
    with open_file(path, what, inside=inside) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(min(size, limit) + 1)
        except OSError as error:
            raise_shortage(error)
            raise InputError(f"{what} can't be read ({error.strerror})") from None
    return within(content, what, limit=limit)


def within(content: bytes, what: str, *, limit: int) -> bytes:
    """``content``. Raises InputError where it is larger than ``limit`` bytes."""
    if len(content) > limit:
        raise InputError(f"{what} is larger than {limit >> 10} KiB")
    return content


def path_inside(folder: Path, name: str, what: str) -> str:
    """The real path of ``name``, a path that strangers wrote: relative to ``folder``, or in it.

    Raises InputError where it leads out of the folder (or of what its ``data`` is a link to), be it
    as an absolute path, by ``..`` or by a symbolic link on the way; or where it can be no name.
    """
    try:
        real = os.path.realpath(os.path.join(folder, name))
    except ValueError as error:
        raise InputError(f"{what} can't be read ({_no_name(error)})") from None
    except OSError as error:
        raise_shortage(error)
        raise InputError(f"{what} can't be read ({error.strerror})") from None
    if not _is_inside(folder, real):
        raise InputError(f"the path of {what} leads out of the dataset folder")
    return real


def _no_name(error: ValueError) -> str:
    """Why the system takes no such name: what Python raises before it asks the system."""
    if isinstance(error, UnicodeEncodeError):
        return f"its name holds {error.object[error.start]!r}, which {error.encoding} can't encode"
    return "its name holds a NUL byte"


def _is_inside(folder: Path, real: str) -> bool:
    try:
        return any(
            os.path.commonpath([real, root]) == root for root in _roots(os.path.abspath(folder))
        )
    except ValueError:  # on another drive
        return False


@lru_cache(maxsize=64)  # not for each of a million images
def _roots(folder: str) -> tuple[str, str]:
    return os.path.realpath(folder), os.path.realpath(os.path.join(folder, "data"))

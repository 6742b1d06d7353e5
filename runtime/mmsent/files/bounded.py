"""Open untrusted files: only regular files of limited size."""

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

# Do not block: opening a named pipe could wait for a writer forever.
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK")
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


def open_file(path: str | os.PathLike[str], what: str, *, inside: Path | None = None) -> BinaryIO:
    """Open a regular file for reading; ``what`` names it in messages ("the text").

    ``inside``: a dataset folder, where ``path`` is GUID.txt or GUID.jpg in its data folder. Then a
    symbolic link must lead to a file inside the folder (``data`` itself may be a link to any
    folder). This check costs nothing for files that are not links.
    Raises InputError if the file does not exist, is not a regular file, or is outside the folder.
    """
    try:
        try:
            if inside and not _NO_LINK and os.path.islink(path):
                raise OSError(errno.ELOOP, "a symbolic link", path)  # as with O_NOFOLLOW
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
    except InputError:  # it is also a ValueError
        raise
    except FileNotFoundError:
        raise InputError(f"{what} does not exist") from None
    except ValueError as error:
        raise InputError(f"{what} can't be read ({_no_name(error)})") from None
    except OSError as error:
        raise_shortage(error)
        raise InputError(f"{what} can't be read ({error.strerror})") from None


def create_file(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """Open a file for writing, "r+b" or "ab", and create it if necessary. Links are refused.

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
    """Read a file with open_file.

    Raises InputError like open_file, and if the file has more than ``limit`` bytes.
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
    """Return ``content``. Raises InputError if it is larger than ``limit`` bytes."""
    if len(content) > limit:
        raise InputError(f"{what} is larger than {limit >> 10} KiB")
    return content


def path_inside(folder: Path, name: str, what: str) -> str:
    """The real path of the untrusted path ``name``, which is relative to ``folder`` or in it.

    Raises InputError if it leads out of the folder (or of the target of its ``data``): as an
    absolute path, by ``..`` or through a symbolic link. Also raises it if the path is invalid.
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
    """Why a path is invalid, from the error that Python raises before it calls the system."""
    if isinstance(error, UnicodeEncodeError):
        return (
            f"its name contains {error.object[error.start]!r}, which {error.encoding} can't encode"
        )
    return "its name contains a NUL byte"


def _is_inside(folder: Path, real: str) -> bool:
    try:
        return any(
            os.path.commonpath([real, root]) == root for root in _roots(os.path.abspath(folder))
        )
    except ValueError:  # on another drive
        return False


@lru_cache(maxsize=64)  # instead of once for each of a million images
def _roots(folder: str) -> tuple[str, str]:
    return os.path.realpath(folder), os.path.realpath(os.path.join(folder, "data"))

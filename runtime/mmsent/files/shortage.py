"""Telling a machine that lacks memory, threads or open files from bad input."""

import errno
import re
from collections.abc import Iterator

from mmsent.errors import MmsentError, Shortage

_MEMORY = re.compile(  # C++ and ONNX Runtime, PyTorch, Pillow, the dynamic linker
    r"bad_alloc|bad allocation|out of memory|failed to map segment|"
    r"(can't|cannot|can not|failed to|unable to|could not) allocate (?!memory in static TLS)",
    re.IGNORECASE,
)
_THREADS = re.compile(  # Python, POSIX, Rust
    r"can't start new thread|pthread_create|thread constructor failed|ThreadPoolBuildError|"
    r"failed to spawn thread|resource temporarily unavailable",
    re.IGNORECASE,
)


def raise_shortage(error: BaseException) -> None:
    """Raise Shortage where ``error``, or what it came from, is such a lack."""
    for each in _origins(error):
        number = each.errno if isinstance(each, OSError) else None
        if isinstance(each, MemoryError) or number == errno.ENOMEM or _MEMORY.search(str(each)):
            raise Shortage(
                "this process can't have the memory that it needs (`ulimit -v` and a container's "
                "limits bound it); give it more, or use less: a lower --threads or --batch-size "
                "where the command has them"
            ) from error
        if number == errno.EAGAIN or _THREADS.search(str(each)):
            raise Shortage(
                "this process can't start another thread (`ulimit -u`, `ulimit -v` and a "
                "container's limits bound that); allow more, or a lower --threads where the "
                "command has it"
            ) from error
        if number in (errno.EMFILE, errno.ENFILE):
            raise Shortage(
                "this process can't open another file (`ulimit -n` bounds how many); allow more"
            ) from error


def _origins(error: BaseException) -> Iterator[BaseException]:
    """``error`` and the errors that led to it, unless it is a message of mmsent's own."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, MmsentError):
        yield seen
        seen = seen.__cause__ or seen.__context__

"""Distinguish a lack of memory, threads or file descriptors from bad input."""

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
    """Raise Shortage if ``error`` or one of its causes is such a lack."""
    for each in _origins(error):
        number = each.errno if isinstance(each, OSError) else None
        if isinstance(each, MemoryError) or number == errno.ENOMEM or _MEMORY.search(str(each)):
            raise Shortage(
                "there is not enough memory\n"
                "Lower --threads or --batch-size, or allow more (`ulimit -v`, a container's limit)"
            ) from error
        if number == errno.EAGAIN or _THREADS.search(str(each)):
            raise Shortage(
                "no more threads can be started\n"
                "Lower --threads, or allow more (`ulimit -u`, `ulimit -v`, a container's limit)"
            ) from error
        if number in (errno.EMFILE, errno.ENFILE):
            raise Shortage("no more files can be opened\nAllow more with `ulimit -n`") from error


def _origins(error: BaseException) -> Iterator[BaseException]:
    """``error`` and its causes, up to the first error of mmsent's own."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, MmsentError):
        yield seen
        seen = seen.__cause__ or seen.__context__

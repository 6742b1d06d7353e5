"""A list that comes through stdin, for what reads it more than once."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

STDIN = Path("-")
"""The name of standard input, as in other programs."""
_CHUNK = 1 << 16


@contextmanager
def from_stdin(path: Path) -> Iterator[Path]:
    """``path`` or, where that is "-", a file that holds what stdin gave; it goes with the block.

    Its suffix is what its first bytes say: Parquet, JSON lines, else CSV. Raises OSError.
    """
    if path != STDIN:
        yield path
        return
    with TemporaryDirectory(prefix="mmsent-") as folder:
        first = sys.stdin.buffer.read(_CHUNK)
        suffix = ".csv"
        if first.startswith(b"PAR1"):
            suffix = ".parquet"
        elif first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            suffix = ".jsonl"
        spooled = Path(folder, f"stdin{suffix}")
        with open(spooled, "wb") as file:
            file.write(first)
            shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK)
        yield spooled

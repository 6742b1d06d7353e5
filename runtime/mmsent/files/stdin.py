"""A list from stdin, stored in a file so that it can be read more than once."""

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
    """Yield ``path`` or, if it is "-", a temporary file with the content of stdin.

    The first bytes decide its suffix: Parquet, JSON Lines, otherwise CSV. Raises OSError.
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

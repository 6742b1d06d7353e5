"""Paths for libraries that accept only UTF-8."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mmsent.files.console import readable


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Yield ``path`` or, if it is not UTF-8, a temporary UTF-8 link to it."""
    if str(path) == readable(str(path)):
        yield path
        return
    with TemporaryDirectory(prefix="mmsent-") as folder:
        link = Path(folder, "link")
        link.symlink_to(path.absolute())
        yield link

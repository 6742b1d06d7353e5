"""Write an explanation to a file: JSON, a page or a picture, by its suffix."""

from pathlib import Path

from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.predict.explain.explanation import Explanation

SUFFIXES = (".html", ".png", ".json")


def check_suffix(path: Path) -> None:
    """Raise InputError if the suffix of ``path`` is not supported."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the name of an explanation must end in {', '.join(SUFFIXES)}")


def write_explanation(explanation: Explanation, path: Path) -> None:
    """Write ``explanation`` to ``path`` in the format of its suffix.

    Raises InputError if it is not one of `SUFFIXES`.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        from mmsent.predict.explain.html import to_html

        content = to_html(explanation).encode()
    elif suffix == ".png":
        from mmsent.predict.explain.picture import to_png

        content = to_png(explanation)
    else:
        content = f"{explanation.to_json()}\n".encode()
    with atomic_path(path) as part:
        part.write_bytes(content)

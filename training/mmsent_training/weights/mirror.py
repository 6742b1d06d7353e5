"""A checkpoint's file by plain HTTPS, from mirrors that answer less than a hub.

huggingface_hub needs a HEAD request answered, with X-Repo-Commit, ETag and Content-Length. A mirror
that passes on the files alone, or only redirects to where they are, leaves some of these out.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import requests
from huggingface_hub import get_token

from mmsent.errors import InputError
from mmsent.files.lock import locked
from mmsent.files.progress import Progress
from mmsent_training.weights import messages

log = logging.getLogger(__name__)

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for the next bytes."""
CHUNK = 1 << 20


def fetch_file(
    url: str, path: Path, part: Path, check: Callable[[Path], str | None], *, resume: bool
) -> bool:
    """Fetch ``url`` to ``path``, where it appears when it is whole; False where it does not exist.

    ``part`` holds what has come so far. ``check`` says what is wrong with a file, or None.
    ``resume``: ``url`` always has the same content, so that an earlier try's part is the beginning.
    One process fetches; others that want the same file wait. Raises requests.RequestException where
    the mirror does not help, and OSError if what came is not whole or can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = part.with_name(f"{part.name}.lock")
        while True:
            try:
                stack.enter_context(locked(lock, f"another process fetches {path.name}"))
                break
            except InputError as error:
                log.info("%s", error)
                time.sleep(1)
        if path.is_file():
            return True
        if not resume:
            part.unlink(missing_ok=True)
        if not _receive(url, part, path.name):
            return False
        if damage := check(part):
            part.unlink()
            raise OSError(messages.not_whole(url, damage))
        part.replace(path)
    return True


def _receive(url: str, part: Path, name: str) -> bool:
    """Append to ``part`` what it lacks of ``url``, or start over where the server can't do that."""
    begun = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"  # requests drops it where another host answers
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 404:
            return False
        if begun and response.status_code == 416:  # there is nothing after what is here
            return True
        response.raise_for_status()
        ranged = response.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
        if response.status_code != 206:
            begun = 0
        elif not ranged:
            part.unlink(missing_ok=True)
            raise OSError(messages.not_whole(url, "it is another part than was asked for"))
        length = int(response.headers.get("Content-Length") or 0)
        total = (begun + length) // CHUNK if length else None
        with (
            open(part, "ab" if begun else "wb") as file,
            Progress(f"fetching {name}", total, "MiB", summary=False) as progress,
        ):
            progress.update(begun // CHUNK)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update()
    return True

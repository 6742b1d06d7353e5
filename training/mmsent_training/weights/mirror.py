"""Download a checkpoint's file by plain HTTPS, from mirrors with an incomplete API.

huggingface_hub requires the answer to a HEAD request to have X-Repo-Commit, ETag and
Content-Length. A mirror that only serves files, or only redirects, may omit some of them.
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
"""Time limits to connect, and to receive the next bytes, in seconds."""
CHUNK = 1 << 20


def fetch_file(
    url: str, path: Path, part: Path, check: Callable[[Path], str | None], *, resume: bool
) -> bool:
    """Download ``url`` to ``path``, which appears when it is complete; False if it does not exist.

    ``part``: the file for the incomplete download. ``check`` returns the damage of a file, or None.
    ``resume``: continue an earlier ``part``, since ``url`` always has the same content. Only one
    process downloads; others that need the same file wait. Raises requests.RequestException if the
    mirror does not help, and OSError if the download is damaged or can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = part.with_name(f"{part.name}.lock")
        while True:
            try:
                stack.enter_context(locked(lock, f"another process is downloading {path.name}"))
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
    """Append the rest of ``url`` to ``part``, or start over if the server does not support that."""
    begun = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    if token := get_token():
        headers["Authorization"] = (
            f"Bearer {token}"  # requests drops it on a redirect to another host
        )
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 404:
            return False
        if begun and response.status_code == 416:  # the part is already complete
            return True
        response.raise_for_status()
        ranged = response.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
        if response.status_code != 206:
            begun = 0
        elif not ranged:
            part.unlink(missing_ok=True)
            raise OSError(messages.not_whole(url, "it is a different range than requested"))
        length = int(response.headers.get("Content-Length") or 0)
        total = (begun + length) // CHUNK if length else None
        with (
            open(part, "ab" if begun else "wb") as file,
            Progress(f"downloading {name}", total, "MiB", summary=False) as progress,
        ):
            progress.update(begun // CHUNK)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update()
    return True

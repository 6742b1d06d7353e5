"""The static files under ``/`` and ``/page/``, read once, so that no request opens a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).with_name("page")
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Fixed, since the system's own table may differ, and a browser runs modules of this type only."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class File:
    """A file of the page."""

    content: bytes
    media_type: str
    etag: str


def read_page(folder: Path = FOLDER) -> Mapping[str, File]:
    """The files of the page by their paths in its folder, with slashes."""
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in MEDIA_TYPES and path.is_file():
            content = path.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(folder).as_posix()
            found[name] = File(content, MEDIA_TYPES[path.suffix], etag)
    return found

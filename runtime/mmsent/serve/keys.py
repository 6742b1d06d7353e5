"""API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmsent.errors import InputError
from mmsent.files.bounded import MAX_TEXT_BYTES, read_file


@dataclass(frozen=True)
class Keys:
    """The digests of the accepted keys; if there are none, no key is required."""

    digests: frozenset[bytes] = frozenset()

    def accept(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has a key: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
        if not self.digests:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = headers.get("x-api-key", "")
        # The time of the search depends only on the digest, not on the key.
        return _digest(key.strip()) in self.digests


def read_keys(path: Path) -> Keys:
    """The keys in a file, one per line; empty lines and lines that start with # are skipped.

    Raises InputError if the file can't be read, contains no key, or one that no header can have.
    """
    content = read_file(path, f"{path}", limit=MAX_TEXT_BYTES)
    try:
        text = content.decode("utf-8-sig")  # Windows' editors write a byte-order mark
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; save it as UTF-8") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path} contains no key; write one per line")
    for number, key in enumerate(keys, 1):
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"{path}: key {number} contains a character that is not allowed in HTTP headers; "
                "use only ASCII letters, digits and punctuation"
            )
    return Keys(frozenset(map(_digest, keys)))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()

"""The seal: a bundle's SHA-256, stored in the bundle itself, which reveals damage.

The digest is computed over the file with zeros in place of the digest.
"""

import hashlib
import mmap
from pathlib import Path

SEAL_KEY = "mmsent.sha256"
UNSEALED = "0" * 64
"""The value of the metadata SEAL_KEY until the file is sealed."""

# How protobuf writes a metadata entry: the key, then field 2 of 64 bytes.
_MARK = SEAL_KEY.encode() + b"\x12\x40"


def seal(path: Path) -> None:
    """Write the digest into a file whose metadata SEAL_KEY is UNSEALED."""
    place, digest = _digest(path)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(digest.encode())


def is_whole(path: Path) -> bool:
    """Whether every byte of a bundle is as the exporter wrote it."""
    try:
        place, digest = _digest(path)
    except ValueError:
        return False
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(len(UNSEALED)) == digest.encode()


def _digest(path: Path) -> tuple[int, str]:
    """The seal's offset and correct value. Raises ValueError if the file has no seal."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        mark = content.rfind(_MARK)
        if mark < 0:
            raise ValueError(f"{path} has no place for a seal")
        place = mark + len(_MARK)
        view = memoryview(content)
        digest = hashlib.sha256(view[:place])
        digest.update(UNSEALED.encode())
        digest.update(view[place + len(UNSEALED) :])
        view.release()
    return place, digest.hexdigest()

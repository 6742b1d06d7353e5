"""The seal: a bundle's SHA-256, which the bundle itself carries, so that damage shows.

The digest is taken over the file with zeros in the digest's own place.
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
    """Put the digest into a file whose metadata SEAL_KEY is UNSEALED."""
    place, digest = _digest(path)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(digest.encode())


def is_whole(path: Path) -> bool:
    """Whether a bundle is, to the last byte, what the exporter wrote."""
    try:
        place, digest = _digest(path)
    except ValueError:
        return False
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(len(UNSEALED)) == digest.encode()


def _digest(path: Path) -> tuple[int, str]:
    """Where the seal's place is, and what belongs there. Raises ValueError where there is none."""
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

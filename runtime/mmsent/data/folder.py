"""The task's folder: lists (guid,tag) and, for each guid, a text and an image in ``data``.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

import os
from pathlib import Path

from mmsent.inputs.image import IMAGE_SUFFIXES

TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"


def text_file(folder: Path, guid: str) -> str:
    """Where the text of ``guid`` is."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str, suffix: str = IMAGE_SUFFIXES[0]) -> str:
    """Where the image of ``guid`` is, if it has this suffix."""
    return os.path.join(folder, "data", f"{guid}{suffix}")


def image_suffixes(folder: Path) -> tuple[str, ...]:
    """How the images in ``data`` end, as their names are written; .jpg where none is there.

    One look at the folder's names, so that nobody has to look for each suffix of each guid.
    """
    found = set()
    try:
        with os.scandir(os.path.join(folder, "data")) as entries:
            for entry in entries:
                suffix = entry.name[entry.name.rfind(".") :]
                if suffix not in found and suffix.lower() in IMAGE_SUFFIXES:
                    found.add(suffix)
    except OSError:  # not there: every file of it is named as missing
        pass
    return tuple(sorted(found, key=_order)) or IMAGE_SUFFIXES[:1]


def _order(suffix: str) -> tuple[int, str]:
    return IMAGE_SUFFIXES.index(suffix.lower()), suffix.swapcase()  # small letters first

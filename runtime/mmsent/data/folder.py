"""The task's folder: lists (guid,tag), and a text and an image per guid in ``data``.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

import os
from collections.abc import Callable
from pathlib import Path

from mmsent.data.pair import File
from mmsent.inputs.image import IMAGE_SUFFIXES

TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"


def text_file(folder: Path, guid: str) -> str:
    """The path of the text of ``guid``."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str) -> str:
    """The path of the image of ``guid``, if it ends in .jpg."""
    return os.path.join(folder, "data", f"{guid}{IMAGE_SUFFIXES[0]}")


def find_files(folder: Path) -> Callable[[str], tuple[File, File]]:
    """A function that returns the text and the image of a guid.

    It lists the folder once, instead of trying every suffix for every guid.
    """
    suffix, *others = _image_suffixes(folder)
    data = os.path.join(folder, "data", "")

    def files_of(guid: str) -> tuple[File, File]:
        stem = data + guid
        elsewhere = tuple([stem + other for other in others])
        return File(f"{stem}.txt", folder), File(stem + suffix, folder, others=elsewhere)

    return files_of


def _image_suffixes(folder: Path) -> tuple[str, ...]:
    """The endings of the images in ``data``, as written there; .jpg if there are none."""
    found = set()
    try:
        with os.scandir(os.path.join(folder, "data")) as entries:
            for entry in entries:
                suffix = entry.name[entry.name.rfind(".") :]
                if suffix not in found and suffix.lower() in IMAGE_SUFFIXES:
                    found.add(suffix)
    except OSError:  # the folder is missing: every file of it will be reported
        pass
    return tuple(sorted(found, key=_order)) or IMAGE_SUFFIXES[:1]


def _order(suffix: str) -> tuple[int, str]:
    return IMAGE_SUFFIXES.index(suffix.lower()), suffix.swapcase()  # lower case first

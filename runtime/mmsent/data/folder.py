"""The task's folder: lists (guid,tag) and, for each guid, a text and an image in ``data``.

DIR/train.txt   DIR/test_without_label.txt   DIR/data/GUID.txt   DIR/data/GUID.jpg
"""

import os
from pathlib import Path

TRAIN_LIST = "train.txt"
TEST_LIST = "test_without_label.txt"


def text_file(folder: Path, guid: str) -> str:
    """Where the text of ``guid`` is."""
    return os.path.join(folder, "data", f"{guid}.txt")


def image_file(folder: Path, guid: str) -> str:
    """Where the image of ``guid`` is, unless its suffix is another of IMAGE_SUFFIXES."""
    return os.path.join(folder, "data", f"{guid}.jpg")

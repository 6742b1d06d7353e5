"""Hugging Face's imagefolder: images in folders, possibly with a metadata file.

DIR/train/metadata.csv   DIR/train/1.png        the column file_name is the image, and its guid
DIR/metadata.jsonl       DIR/train/1.png        the same, with the file_name train/1.png
DIR/train/dog/1.png      DIR/dog/1.png          images only; the folder's name is the label

A folder is a split if its name is in `mmsent.data.columns.SPLITS`.
https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mmsent.data.columns import SPLITS, Columns, find_split
from mmsent.data.lists import List, Rows, find_list_files, open_list
from mmsent.data.pair import File, make_pair
from mmsent.errors import InputError, Problem
from mmsent.inputs.image import IMAGE_SUFFIXES

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class Images:
    """The images below a folder, sorted by name; a subfolder is a label.

    ``name``: for messages. ``split``: the part of the dataset that all of them belong to.
    """

    folder: Path
    name: str
    split: str | None
    has_splits = False
    is_label_open = False

    def rows(
        self,
        *,
        labelled: bool = False,
        contents: bool = True,
        start: int = 0,
        splits: Collection[str | None] | None = None,
    ) -> Rows:
        """A pair without a text for each image; see `mmsent.data.dataset.Dataset.rows`.

        The guid is the path inside the folder, the line is the position in the order.
        """
        if splits is not None and self.split not in splits:
            return
        for number, place in islice(enumerate(_images(self.folder), 1), start, None):
            *above, name = place.split("/")
            if not name:
                fault = "images must be directly in the folder of their label"
                yield Problem(self.name, number, "", place, fault)
                continue
            image = File(place, self.folder, named=True) if contents else None
            yield make_pair(
                self.name, number, place, "".join(above),
                labelled=labelled, image=image, split=self.split,
            )  # fmt: skip


def find_lists(
    folder: Path, *, columns: Columns, images: Path | None, allow_missing: bool
) -> list[List | Images]:
    """The lists of an imagefolder: its metadata, otherwise its images by split; empty if neither.

    The options are those of `open_list`. Raises InputError if metadata can't be read, or are in
    several places.
    """
    _, folders = _listing(folder)
    order = [*dict.fromkeys(SPLITS.values())]
    splits = [name for split in order for name in folders if find_split(name) == split]

    def open_metadata(name: str, split: str | None) -> List:
        roles: Columns = {"guid": "file_name", "image": "file_name", **columns}
        return open_list(
            folder / name, name=name, columns=roles, images=images, split=split,
            allow_missing=allow_missing,
        )  # fmt: skip

    top = _metadata(folder)
    below = {name: _metadata(folder / name) for name in splits}
    if top and any(below.values()):
        raise InputError(
            f"{folder} has metadata at the top and in a split's folder; keep one of them"
        )
    if top:
        one = open_metadata(top, None)
        if splits and not one.has_splits:
            one = replace(one, columns={**one.columns, "split": "file_name"})
        return [one]
    lists = find_list_files(folder)
    found: list[List | Images] = []
    for name in splits:
        split, metadata = find_split(name), below[name]
        first = next(_images(folder / name), "")
        if metadata:
            found.append(open_metadata(f"{name}/{metadata}", split))
        elif first and ("/" in first or not lists):  # otherwise they belong to a list
            found.append(Images(folder / name, f"{name}/", split))
    if not splits and not lists and sum(_is_label(folder / name) for name in folders) > 1:
        found.append(Images(folder, f"{folder.resolve().name}/", None))
    return found


def _is_label(folder: Path) -> bool:
    try:
        return bool(_listing(folder)[0])
    except InputError:  # another program's
        return False


def _metadata(folder: Path) -> str | None:
    """The name of the folder's metadata file, if it has one."""
    names = [entry.name for entry in _entries(folder) if entry.name.lower() in METADATA]
    if len(names) > 1:
        raise InputError(f"{folder} contains {' and '.join(sorted(names))}; keep one of them")
    return names[0] if names else None


def _images(folder: Path) -> Iterator[str]:
    """Paths of the images in a folder and its subfolders; a deeper folder's path ends in /."""
    names, folders = _listing(folder)
    yield from names
    for below in folders:
        names, deeper = _listing(folder / below)
        yield from (f"{below}/{name}" for name in names)
        yield from (f"{below}/{name}/" for name in deeper)


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a folder's images and of its subfolders, sorted.

    Names that start with a dot or two underscores, such as __MACOSX, are skipped.
    """
    names, folders = [], []
    for entry in _entries(folder):
        if entry.name.startswith((".", "__")):
            continue
        # entry.is_dir fails if it is a link to itself
        if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
            folders.append(entry.name)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            names.append(entry.name)
    return sorted(names), sorted(folders)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise InputError(f"{folder} can't be read ({error.strerror})") from None

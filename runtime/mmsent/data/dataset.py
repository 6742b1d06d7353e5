"""Datasets: pairs in any of the layouts. Only this module knows all layouts.

A dataset is one list or several; each layout is a module that finds them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from mmsent.data import imagefolder, mvsa
from mmsent.data.columns import Columns, listed
from mmsent.data.folder import TEST_LIST, TRAIN_LIST
from mmsent.data.labels import unknown_label
from mmsent.data.lists import Rows, find_list_files, open_list
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import InputError, Problem

Splits = Collection[str | None]
"""Parts of a dataset; None: the rows without a split."""
TRAINING: Splits = (None, "train")


@dataclass(frozen=True)
class Reading:
    """How to read a dataset, where its layout leaves that open.

    ``folder``: contains ``data`` with the texts and images of a list of guids, if not the list's
    own folder. ``columns``: the roles of a list's columns. ``images``: the folder of relative image
    paths, if not the list's own. ``allow_missing``: a pair whose text or image file does not exist
    lacks that part. ``split``: the part to read, for commands that take one; "all" for everything.
    """

    folder: Path | None = None
    columns: Columns = field(default_factory=dict)
    images: Path | None = None
    allow_missing: bool = False
    split: str | None = None


AS_IT_IS = Reading()


class Listing(Protocol):
    """One list of a dataset: a file, or a folder that serves as a list."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def split(self) -> str | None:
        """The part of the dataset that all rows belong to, if the rows don't name one."""

    @property
    def has_splits(self) -> bool:
        """Whether the rows name their split."""

    @property
    def is_label_open(self) -> bool:
        """Whether several columns could be the label, so that the rows have none."""

    def rows(
        self,
        *,
        labelled: bool = False,
        contents: bool = True,
        start: int = 0,
        splits: Splits | None = None,
    ) -> Rows:
        """The rows of ``splits``; see `Dataset.rows`."""


@dataclass(frozen=True)
class Dataset:
    """Pairs in one or more lists.

    ``layout``: the detected layout, in words. ``splits``: the parts to read, None for all.
    """

    path: Path
    layout: str
    lists: Sequence[Listing]
    splits: Splits | None = None

    @property
    def name(self) -> str:
        """The name in messages: the list's, if there is only one."""
        return self.lists[0].name if len(self.lists) == 1 else self.path.name

    def select(self, splits: Splits | None) -> "Dataset":
        """The given parts of it. Lists that contain none of them are not opened."""
        lists = [
            each for each in self.lists if splits is None or each.has_splits or each.split in splits
        ]
        return replace(self, lists=lists, splits=splits)

    def has(self, split: str) -> bool:
        """Whether a row belongs to ``split``. Reads the lists whose rows name their split."""
        for each in self.lists:
            if each.has_splits:
                with closing(each.rows(contents=False, splits=(split,))) as rows:
                    if any(isinstance(row, Pair) for row in rows):
                        return True
            elif each.split == split:
                return True
        return False

    def rows(self, *, labelled: bool = False, contents: bool = True, start: int = 0) -> Rows:
        """The rows in order, each as a pair or as the problem with it. Memory use is constant.

        ``labelled``: a row without a label is bad. ``contents``: read texts and images that are
        stored in the list. ``start``: the number of rows to skip. Close the iterator if you do not
        exhaust it: it keeps a file open.
        Raises InputError if a list can't be read or is malformed.
        """

        def every(start: int = 0) -> Rows:
            for each in self.lists:
                yield from each.rows(
                    labelled=labelled, contents=contents, start=start, splits=self.splits
                )

        if len(self.lists) == 1:  # it may be able to seek to that row
            yield from every(start)
        else:
            with closing(every()) as rows:
                yield from islice(rows, start, None)


def open_dataset(path: Path, reading: Reading = AS_IT_IS) -> Dataset:
    """The whole dataset at ``path``, a folder in one of the layouts or a list.

    Raises InputError if it is neither.
    """
    columns, images, allow_missing = reading.columns, reading.images, reading.allow_missing
    in_files = partial(open_list, columns=columns, allow_missing=allow_missing)
    if not path.is_dir():
        one = in_files(path, folder=reading.folder, images=images)
        return Dataset(path, one.layout, [one])
    splits = {TRAIN_LIST: "train", TEST_LIST: "test"}
    if found := [
        in_files(path / name, split=splits[name]) for name in splits if (path / name).is_file()
    ]:
        return Dataset(path, "the task's folder", found)
    if (path / mvsa.LIST).is_file():
        mvsa.log_cases(path / mvsa.LIST)
        return Dataset(path, "MVSA's folder", [in_files(path / mvsa.LIST)])
    if lists := imagefolder.find_lists(
        path, columns=columns, images=images, allow_missing=allow_missing
    ):
        return Dataset(path, "a Hugging Face imagefolder", lists)
    files = find_list_files(path)
    instead = f"one of its lists: {listed(files)}" if files else "another folder, or a list"
    raise InputError(
        f"{path} contains no dataset: neither {TRAIN_LIST} nor {TEST_LIST} (the task), {mvsa.LIST} "
        "(MVSA), metadata.csv, .jsonl or .parquet, nor images in folders named train, validation, "
        f"test or after their label (imagefolder)\nName {instead}"
    )


def mark_duplicates(rows: Iterable[Pair | Problem]) -> Iterator[Pair | Problem]:
    """The rows; a guid that appeared before in the same split becomes a problem."""
    first: dict[tuple[str, str | None, str], int] = {}
    for row in rows:
        if isinstance(row, Pair):
            line = first.setdefault((row.list, row.split, row.guid), row.line)
            if line != row.line:
                message = f"the guid is already on line {line}"
                yield Problem(row.list, row.line, row.guid, row.list, message)
                continue
        yield row


def read_pairs(
    dataset: Dataset,
    parts: Collection[Part] = PARTS,
    *,
    labelled: bool = True,
    optional: Collection[Part] = (),
) -> tuple[list[Pair], list[Problem]]:
    """The pairs of a dataset, and the problems of its rows.

    ``parts``: the parts to keep; others are not read. ``optional``: the parts that a pair may lack.
    Pairs with a problem are included, so that their labels count. Without ``labelled``, pairs
    without a label are accepted, and their contents are not checked.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for row in mark_duplicates(dataset.rows(labelled=labelled)):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        if row.label is not None:
            problems += row.check(parts, optional=optional)
        pairs.append(row.only(parts))
    return pairs, problems


def foreign_labels(pairs: Iterable[Pair], labels: Sequence[str]) -> list[Problem]:
    """A problem for each pair whose label is not among ``labels``."""
    return [
        Problem(pair.list, pair.line, pair.guid, pair.list, unknown_label(str(pair.label), labels))
        for pair in pairs
        if pair.label not in labels
    ]

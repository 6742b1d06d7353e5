"""Datasets: pairs in one of the layouts that mmsent reads. Only this module knows which there are.

A dataset is one list or several; a layout is a module that finds them.
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
from mmsent.errors import InputError, Problem, refuse

Splits = Collection[str | None]
"""Parts of a dataset; None: the rows that nothing says a part of."""
TRAINING: Splits = (None, "train")


@dataclass(frozen=True)
class Reading:
    """How a dataset is to be read, where its layout does not say.

    ``folder``: where the texts and images of the task's kind of list are, if not next to it.
    ``columns``: which column of a list is what. ``images``: what paths of images are relative to,
    if not the list's folder. ``allow_missing``: a row whose text or image is in no file lacks it.
    ``split``: which part is meant, where a command takes one; "all" for everything.
    """

    folder: Path | None = None
    columns: Columns = field(default_factory=dict)
    images: Path | None = None
    allow_missing: bool = False
    split: str | None = None


AS_IT_IS = Reading()


class Listing(Protocol):
    """One list of a dataset: a file, or a folder that is one."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def split(self) -> str | None:
        """The part of the dataset that all rows belong to, where they don't say."""

    @property
    def has_splits(self) -> bool:
        """Whether the rows say which part they belong to."""

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
        """The rows of ``splits``, as `Dataset.rows` has them."""


@dataclass(frozen=True)
class Dataset:
    """Pairs, in one list or several.

    ``path``: where it is; ``layout``: what it is taken for, for people. ``splits``: the parts of it
    that are read, None for all.
    """

    path: Path
    layout: str
    lists: Sequence[Listing]
    splits: Splits | None = None

    @property
    def name(self) -> str:
        """What it is called in messages: by its list, where there is one."""
        return self.lists[0].name if len(self.lists) == 1 else self.path.name

    def select(self, splits: Splits | None) -> "Dataset":
        """Parts of it. Lists of which nothing can be in them are not opened."""
        lists = [
            each for each in self.lists if splits is None or each.has_splits or each.split in splits
        ]
        return replace(self, lists=lists, splits=splits)

    def has(self, split: str) -> bool:
        """Whether a row belongs to ``split``. Reads lists whose rows say so."""
        for each in self.lists:
            if each.has_splits:
                with closing(each.rows(contents=False, splits=(split,))) as rows:
                    if any(isinstance(row, Pair) for row in rows):
                        return True
            elif each.split == split:
                return True
        return False

    def rows(self, *, labelled: bool = False, contents: bool = True, start: int = 0) -> Rows:
        """The rows in the lists' order, a bad one as what is wrong with it, in flat memory.

        With ``labelled`` a row without a label is bad. Without ``contents`` texts and images are
        left out, and may not be read. ``start`` rows are passed over. Close it where it is not
        read to its end: it holds a file open.
        Raises InputError where a list can't be read or is no such list.
        """

        def every(start: int = 0) -> Rows:
            for each in self.lists:
                yield from each.rows(
                    labelled=labelled, contents=contents, start=start, splits=self.splits
                )

        if len(self.lists) == 1:  # which may know a quick way to its row
            yield from every(start)
        else:
            with closing(every()) as rows:
                yield from islice(rows, start, None)


def open_dataset(path: Path, reading: Reading = AS_IT_IS) -> Dataset:
    """The dataset at ``path``, all of it: a folder in one of the layouts, or a list.

    Raises InputError where it is neither.
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
        f"{path} holds neither {TRAIN_LIST} nor {TEST_LIST} (the task), {mvsa.LIST} (MVSA), "
        "metadata.csv, .jsonl or .parquet, nor images in folders train, validation, test or in one "
        f"for each label (imagefolder); name {instead}"
    )


def mark_duplicates(rows: Iterable[Pair | Problem]) -> Iterator[Pair | Problem]:
    """The rows, those whose guid an earlier one of their split has as a problem."""
    first: dict[tuple[str, str | None, str], int] = {}
    for row in rows:
        if isinstance(row, Pair):
            line = first.setdefault((row.list, row.split, row.guid), row.line)
            if line != row.line:
                message = f"the guid is on line {line} already"
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
    """The pairs of a dataset, and what is wrong with them and with other rows.

    ``parts``: what of a pair is seen; the rest is not read, and the pairs lack it. They may lack
    what is ``optional``. A pair that something is wrong with is among them: its label counts.
    Without ``labelled`` there may be pairs without a label, and nothing of those is checked.
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


def read_labelled(
    dataset: Dataset, labels: Sequence[str] | None = None, *, parts: Collection[Part] = PARTS
) -> list[Pair]:
    """All pairs of a labelled dataset, of which the texts decode and the images are there.

    ``labels``: those that there may be, None for any; ``parts``: see `read_pairs`.
    Raises InputError that names every bad row and file.
    """
    pairs, problems = read_pairs(dataset, parts)
    if labels is not None:
        problems += foreign_labels(pairs, labels)
    refuse(problems, "`mmsent check-data` reports on the whole dataset")
    return pairs


def foreign_labels(pairs: Iterable[Pair], labels: Sequence[str]) -> list[Problem]:
    """The problem of each pair whose label is none of ``labels``."""
    return [
        Problem(pair.list, pair.line, pair.guid, pair.list, unknown_label(str(pair.label), labels))
        for pair in pairs
        if pair.label not in labels
    ]

"""Datasets: pairs in one of the layouts that mmsent reads. Only this module knows which there are.

A layout is a class that is a Dataset, in a module of its own.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mmsent.data.folder import TEST_LIST, TRAIN_LIST, FolderDataset
from mmsent.data.pair import LABELS, Pair
from mmsent.data.parquet import ParquetDataset
from mmsent.errors import InputError, Problem, refuse

__all__ = [
    "LABELS", "Dataset", "mark_duplicates", "open_dataset", "open_lists", "read_labelled",
]  # fmt: skip


class Dataset(Protocol):
    """A list and what it lists."""

    @property
    def path(self) -> Path:
        """The list's file."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths are relative to."""

    @property
    def name(self) -> str:
        """The list's name, for messages."""

    def rows(
        self, *, labelled: bool = False, contents: bool = True, start: int = 0
    ) -> Iterator[Pair | Problem]:
        """The rows in the list's order, a bad one as what is wrong with it, in flat memory.

        With ``labelled`` a row without one of LABELS is bad. Without ``contents`` texts and images
        are left out, and may not be read. ``start`` rows are passed over.
        Raises InputError where the list can't be read or is no such list.
        """


def open_dataset(path: Path, *, folder: Path | None = None) -> Dataset:
    """The dataset at ``path``: a folder (its train.txt), a list in CSV, or a Parquet file.

    ``folder``: the dataset folder, where it is another than that of the list.
    """
    if path.is_dir():
        path = path / TRAIN_LIST
    layout = ParquetDataset if path.suffix.lower() == ".parquet" else FolderDataset
    return layout(path, folder or path.parent)


def open_lists(path: Path) -> list[tuple[Dataset, bool]]:
    """Every list of the dataset at ``path``, and whether its rows must be labelled.

    In a folder, those of train.txt must; elsewhere all must as soon as one is.
    Raises InputError where a folder holds no list.
    """
    if not path.is_dir():
        dataset = open_dataset(path)
        rows = dataset.rows(contents=False)
        return [(dataset, any(isinstance(row, Pair) and row.label is not None for row in rows))]
    lists = [name for name in (TRAIN_LIST, TEST_LIST) if (path / name).is_file()]
    if not lists:
        raise InputError(
            f"{path} holds neither {TRAIN_LIST} nor {TEST_LIST}; --data names the dataset folder"
        )
    return [(open_dataset(path / name), name == TRAIN_LIST) for name in lists]


def mark_duplicates(rows: Iterable[Pair | Problem]) -> Iterator[Pair | Problem]:
    """The rows, those whose guid an earlier one has as a problem."""
    first: dict[str, int] = {}
    for row in rows:
        if isinstance(row, Pair) and (line := first.setdefault(row.guid, row.line)) != row.line:
            message = f"the guid is on line {line} already"
            yield Problem(row.list, row.line, row.guid, row.list, message)
        else:
            yield row


def read_labelled(dataset: Dataset) -> list[Pair]:
    """All pairs of a labelled dataset, of which the texts decode and the images are there.

    Raises InputError that names every bad row and file.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for row in mark_duplicates(dataset.rows(labelled=True)):
        found = [row] if isinstance(row, Problem) else row.check()
        problems += found
        if isinstance(row, Pair) and not found:
            pairs.append(row)
    refuse(problems, "`mmsent check-data` reports on the whole folder")
    return pairs

"""One list of a dataset: its rows as pairs, however it is written and wherever their parts are."""

import os
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmsent.data import delimited, json_lines, mvsa, parquet
from mmsent.data.columns import (
    Cells,
    Columns,
    find_columns,
    find_split,
    is_label_open,
    listed,
    require_label,
)
from mmsent.data.folder import find_files
from mmsent.data.labels import plain_label
from mmsent.data.pair import File, Pair, Source, make_pair
from mmsent.errors import InputError, Problem

Rows = Generator[Pair | Problem, None, None]
_FilesOf = Callable[[str], tuple[Source | None, Source | None]]

_READERS = {".jsonl": json_lines, ".ndjson": json_lines, ".parquet": parquet}
_KINDS = {json_lines: "JSON lines", parquet: "Parquet", delimited: "CSV", mvsa: "MVSA's own form"}
# What people have instead of a list, and how it becomes one.
_FIXES = {
    ".json": "write one object a line, into a file that ends in .jsonl",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as CSV in UTF-8"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"), "unpack it"),
}


@dataclass(frozen=True)
class List:
    """A list, and what it lists.

    ``name``: for messages. ``names``: of its columns; ``columns``: which of them is what. Where
    none is the text or the image, those are the files data/GUID.* of ``folder``, as the task has
    it. ``images``: what paths of images are relative to. ``split``: the part of the dataset that
    all its rows belong to, where no column says. ``allow_missing``: a row whose file is not there
    lacks that part.
    """

    path: Path
    name: str
    folder: Path
    images: Path
    names: Sequence[str]
    columns: Columns
    split: str | None = None
    allow_missing: bool = False

    @property
    def has_splits(self) -> bool:
        """Whether its rows say which part of the dataset they belong to."""
        return "split" in self.columns

    @property
    def is_label_open(self) -> bool:
        """Whether several columns could be the label: a training requires that one is named."""
        return is_label_open(self.names, self.columns)

    @property
    def in_files(self) -> bool:
        """Whether texts and images are files that the guids name."""
        return "text" not in self.columns and "image" not in self.columns

    @property
    def layout(self) -> str:
        """What it is taken for, for people."""
        columns = ", ".join(f"{role} {name!r}" for role, name in self.columns.items())
        files = "; text and image are data/GUID.*" if self.in_files else ""
        return f"a list in {_KINDS[_reader(self.path)]} ({columns}{files})"

    def rows(
        self,
        *,
        labelled: bool = False,
        contents: bool = True,
        start: int = 0,
        splits: Collection[str | None] | None = None,
    ) -> Rows:
        """The rows of ``splits`` (default: all); the rest as `mmsent.data.dataset.Dataset` has it.

        A row without a guid is called by its number, from 1.
        """
        if labelled:
            require_label(self.names, self.columns, str(self.path))
        columns = dict(self.columns)
        files_of: _FilesOf | None = None
        if self.in_files:
            files_of = find_files(self.folder) if contents else lambda guid: (None, None)
        if not contents:
            columns = {role: columns[role] for role in columns if role not in ("text", "image")}
        skipped = start if splits is None else 0
        cells_of = _reader(self.path).read_cells
        with closing(cells_of(self.path, columns, labelled=labelled, start=skipped)) as cells:
            passed = skipped
            for number, (line, row) in enumerate(cells, skipped + 1):
                found = self._row(number, line, row, labelled, splits, files_of)
                if found is not None:
                    passed += 1
                    if passed > start:
                        yield found

    def _row(
        self,
        number: int,
        line: int,
        cells: Cells | str,
        labelled: bool,
        splits: Collection[str | None] | None,
        files_of: _FilesOf | None,
    ) -> Pair | Problem | None:
        """The pair of a row, or what is wrong with it; None where it is of another split."""
        if isinstance(cells, str):
            return Problem(self.name, line, "", self.name, cells)
        split = self.split
        guid = (cells.guid or "").strip() if "guid" in self.columns else str(number)
        if cells.split:
            split = find_split(cells.split)
            if split is None:
                fault = f"unknown split {cells.split!r}; it must be train, validation or test"
                return Problem(self.name, line, guid, self.name, fault)
        if splits is not None and split not in splits:
            return None
        text: Source | None = cells.text
        image: Source | None = None
        if files_of:
            text, image = files_of(guid)
        elif not isinstance(cells.image, str):
            image = cells.image
        elif cells.image:
            image = File(cells.image, self.images, named=True)
        if self.allow_missing:
            text, image = _unless_missing(text), _unless_missing(image)
        label = plain_label(cells.label or "")
        return make_pair(
            self.name, line, guid, label,
            labelled=labelled, in_path=files_of is not None, text=text, image=image, split=split,
        )  # fmt: skip


def open_list(
    path: Path,
    *,
    name: str | None = None,
    folder: Path | None = None,
    images: Path | None = None,
    columns: Columns | None = None,
    split: str | None = None,
    allow_missing: bool = False,
) -> List:
    """The list at ``path``: CSV, JSON lines or Parquet, by its suffix. See List.

    ``columns``: those that the user names. Raises InputError where it can't be read, or has neither
    the columns of a list with texts or images nor that of a list of guids.
    """
    names = _reader(path).read_names(path)
    given = dict(columns or {})
    if split == "test" and given.get("label") not in names:
        given.pop("label", None)  # what is to be predicted need not have what the others have
    found = find_columns(names, given, str(path))
    if not found.keys() & {"guid", "text", "image"}:
        raise InputError(
            f"{path}: the first line must name the columns guid,tag, or text, image and label; it "
            f"has {listed(names)}: say which is what with --columns text=NAME,image=NAME,label=NAME"
        )
    folder = folder or path.parent
    return List(
        path, name or path.name, folder, images or folder, names, found, split, allow_missing
    )


def _unless_missing(source: Source | None) -> Source | None:
    return None if isinstance(source, File) and not source.exists() else source


def find_list_files(folder: Path) -> list[str]:
    """The names of what look like lists in a folder."""
    suffixes = (".csv", ".tsv", *_READERS)
    return sorted(name for name in os.listdir(folder) if name.lower().endswith(suffixes))


def _reader(path: Path) -> ModuleType:
    if path.name == mvsa.LIST:
        return mvsa
    if fix := _FIXES.get(path.suffix.lower()):
        raise InputError(
            f"{path} is none of the lists that mmsent reads (.csv, .tsv, .txt, .jsonl, .ndjson, "
            f".parquet; docs/data.md shows folders, too); {fix}"
        )
    return _READERS.get(path.suffix.lower(), delimited)

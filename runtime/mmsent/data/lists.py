"""One list of a dataset: its rows as pairs, for every format and location of texts and images."""

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
_KINDS = {json_lines: "JSON lines", parquet: "Parquet", delimited: "CSV", mvsa: "MVSA's own format"}
# Formats that people have instead, and how to convert them.
_FIXES = {
    ".json": "Write one object per line to a file that ends in .jsonl",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "Save it as CSV in UTF-8"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"), "Unpack it"),
}


@dataclass(frozen=True)
class List:
    """A list and its columns.

    ``name``: for messages. ``names``: of its columns; ``columns``: their roles. If no column is the
    text or the image, they are the files data/GUID.* of ``folder``, as in the task's folder.
    ``images``: the folder of relative image paths. ``split``: the part of the dataset that all rows
    belong to, if no column names it. ``allow_missing``: a row whose file does not exist lacks it.
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
        """Whether the rows name their split."""
        return "split" in self.columns

    @property
    def is_label_open(self) -> bool:
        """Whether several columns could be the label: training then requires a choice."""
        return is_label_open(self.names, self.columns)

    @property
    def in_files(self) -> bool:
        """Whether texts and images are files named after the guids."""
        return "text" not in self.columns and "image" not in self.columns

    @property
    def layout(self) -> str:
        """The detected layout, in words."""
        columns = ", ".join(f"{role} {name!r}" for role, name in self.columns.items())
        files = "; text and image are data/GUID.*" if self.in_files else ""
        kind = "TSV" if self.path.suffix.lower() == ".tsv" else _KINDS[_reader(self.path)]
        return f"a list in {kind} ({columns}{files})"

    def rows(
        self,
        *,
        labelled: bool = False,
        contents: bool = True,
        start: int = 0,
        splits: Collection[str | None] | None = None,
    ) -> Rows:
        """The rows of ``splits`` (default: all); for the rest, see `mmsent.data.dataset.Dataset`.

        A row without a guid gets its number, from 1.
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
        """The pair of a row, or its problem; None if it belongs to another split."""
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
    """The list at ``path``: CSV, JSON Lines or Parquet, by its suffix. See List.

    ``columns``: those that the user names. Raises InputError if it can't be read, or has no column
    for a text, an image or a guid.
    """
    names = _reader(path).read_names(path)
    given = dict(columns or {})
    if split == "test" and given.get("label") not in names:
        given.pop("label", None)  # a list to predict may have fewer columns than the others
    found = find_columns(names, given, str(path))
    if not found.keys() & {"guid", "text", "image"}:
        raise InputError(
            f"{path}: the first line must name the columns guid,tag or text,image,label; it has "
            f"{listed(names)}\nName them with --columns text=NAME,image=NAME,label=NAME"
        )
    folder = folder or path.parent
    return List(
        path, name or path.name, folder, images or folder, names, found, split, allow_missing
    )


def _unless_missing(source: Source | None) -> Source | None:
    return None if isinstance(source, File) and not source.exists() else source


def find_list_files(folder: Path) -> list[str]:
    """The names of the files in a folder that look like lists."""
    suffixes = (".csv", ".tsv", *_READERS)
    return sorted(name for name in os.listdir(folder) if name.lower().endswith(suffixes))


def _reader(path: Path) -> ModuleType:
    if path.name == mvsa.LIST:
        return mvsa
    if fix := _FIXES.get(path.suffix.lower()):
        raise InputError(
            f"{path} is not a list that mmsent reads (.csv, .tsv, .txt, .jsonl, .ndjson, "
            f".parquet; folders: see docs/data.md)\n{fix}"
        )
    return _READERS.get(path.suffix.lower(), delimited)

"""One list of a dataset: its rows as pairs, however it is written and wherever their parts are."""

from collections.abc import Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmsent.data import delimited, json_lines, parquet
from mmsent.data.columns import Cells, Columns, find_columns, find_split, listed, require
from mmsent.data.folder import image_file, text_file
from mmsent.data.labels import plain_label
from mmsent.data.pair import File, Pair, Source, make_pair
from mmsent.errors import InputError, Problem
from mmsent.inputs.image import IMAGE_SUFFIXES

Rows = Generator[Pair | Problem, None, None]

_READERS = {".jsonl": json_lines, ".ndjson": json_lines, ".parquet": parquet}
_KINDS = {json_lines: "JSON lines", parquet: "Parquet", delimited: "CSV"}


@dataclass(frozen=True)
class List:
    """A list, and what it lists.

    ``name``: for messages. ``columns``: which of its columns is what; where neither is the text or
    the image, those are the files data/GUID.* of ``folder``, as the task has it. ``images``: what
    paths of images are relative to. ``split``: the part of the dataset that all its rows belong
    to, where no column says. ``allow_missing``: a row whose file is not there lacks that part.
    """

    path: Path
    name: str
    folder: Path
    images: Path
    columns: Columns
    split: str | None = None
    allow_missing: bool = False

    @property
    def has_splits(self) -> bool:
        """Whether its rows say which part of the dataset they belong to."""
        return "split" in self.columns

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
            require(self.columns, ["label"], str(self.path))
        columns = dict(self.columns)
        if not contents:
            columns = {role: columns[role] for role in columns if role not in ("text", "image")}
        skipped = start if splits is None else 0
        cells_of = _reader(self.path).read_cells
        with closing(cells_of(self.path, columns, labelled=labelled, start=skipped)) as cells:
            passed = skipped
            for number, (line, row) in enumerate(cells, skipped + 1):
                found = self._row(number, line, row, labelled, splits)
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
    ) -> Pair | Problem | None:
        """The pair of a row, or what is wrong with it; None where it is of another split."""
        if isinstance(cells, str):
            return Problem(self.name, line, "", self.name, cells)
        split = self.split
        guid = str(number) if "guid" not in self.columns else cells.guid or ""
        if cells.split:
            split = find_split(cells.split)
            if split is None:
                fault = f"unknown split {cells.split!r}; it must be train, validation or test"
                return Problem(self.name, line, guid, self.name, fault)
        if splits is not None and split not in splits:
            return None
        text, image = self._sources(guid, cells)
        return make_pair(
            self.name, line, guid, plain_label(cells.label or ""),
            labelled=labelled, text=text, image=image, split=split,
        )  # fmt: skip

    def _sources(self, guid: str, cells: Cells) -> tuple[Source | None, Source | None]:
        if not self.in_files:
            image: Source | None
            if isinstance(cells.image, str):
                image = File(cells.image, self.images, named=True)
                lacks = not cells.image or self._lacks(image)
                return cells.text, None if lacks else image
            return cells.text, cells.image
        text = File(text_file(self.folder, guid), self.folder)
        picture = File(image_file(self.folder, guid), self.folder, suffixes=IMAGE_SUFFIXES)
        return (
            None if self._lacks(text) else text,
            None if self._lacks(picture) else picture,
        )

    def _lacks(self, file: File) -> bool:
        return self.allow_missing and not file.exists()


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
    found = find_columns(names, columns or {}, str(path))
    if not found.keys() & {"guid", "text", "image"}:
        raise InputError(
            f"{path}: the first line must name the columns guid,tag, or text, image and label; it "
            f"has {listed(names)}: say which is what with --columns text=NAME,image=NAME,label=NAME"
        )
    folder = folder or path.parent
    return List(path, name or path.name, folder, images or folder, found, split, allow_missing)


def _reader(path: Path) -> ModuleType:
    return _READERS.get(path.suffix.lower(), delimited)

"""Checking a whole dataset folder: everything that is wrong with it, and what is in it."""

from __future__ import annotations

import hashlib
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from mmsent.data.dataset import (
    TEST_LIST,
    TRAIN_LIST,
    Packed,
    Row,
    find_duplicates,
    image_of,
    image_place,
    is_parquet,
    read_list,
    text_of,
    text_place,
)
from mmsent.errors import InputError, Problem
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import FORMATS, ImageSettings, load_image

WINDOW = 256  # pairs that are inspected together


@dataclass
class Check:
    """What a check found. ``errors`` stop training and inference, ``warnings`` do not."""

    folder: str
    lists: dict[str, int] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    encodings: dict[str, int] = field(default_factory=dict)
    image_formats: dict[str, int] = field(default_factory=dict)
    words: dict[str, float] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    heights: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Pair:
    """What one row's files hold; a field is None where its file is at fault."""

    row: Row
    list: str
    errors: tuple[Problem, ...]
    text: str | None
    encoding: str | None
    image_digest: bytes | None
    image_format: str | None
    image_size: tuple[int, int] | None


def check_folder(folder: Path) -> Check:
    """Check the lists that ``folder`` has, and every text and image they name; or a Parquet file.

    Raises InputError where there is neither train.txt nor test_without_label.txt.
    """
    check = Check(str(folder))
    if is_parquet(folder):
        return _check_lists(check, folder.parent, [folder], _labelled(folder))
    lists = [name for name in (TRAIN_LIST, TEST_LIST) if (folder / name).is_file()]
    if not lists:
        raise InputError(
            f"{folder} holds neither {TRAIN_LIST} nor {TEST_LIST}; --data names the dataset folder"
        )
    return _check_lists(check, folder, [folder / name for name in lists], TRAIN_LIST)


def _labelled(path: Path) -> str:
    """The Parquet file's name where it is a labelled list, "" where no row has a label."""
    from mmsent.data.parquet import has_labels

    return path.name if has_labels(path) else ""


def _check_lists(check: Check, folder: Path, lists: Sequence[Path], labelled: str) -> Check:
    """Check ``lists`` into ``check``; that of the name ``labelled`` must have labels."""
    pairs: list[_Pair] = []
    faults: list[Problem] = []
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        Progress("checking", None, "pairs") as progress,
    ):
        for path in lists:
            found: list[_Pair] = []
            rows = read_list(path, check.errors, labelled=path.name == labelled)
            inspect = partial(_inspect, folder, path.name)
            try:
                # Rows may bring their images along: not all of them at once.
                while some := list(islice(rows, WINDOW)):
                    found += pool.map(inspect, some)
                    progress.update(len(some))
            except InputError as error:
                check.errors.append(Problem(path.name, 0, "", path.name, str(error)))
                continue
            check.lists[path.name] = len(found)
            check.errors += find_duplicates([pair.row for pair in found], path.name)
            faults += [error for pair in found for error in pair.errors]
            pairs += found
    check.errors += faults
    check.warnings += _empty_texts(folder, pairs) + _conflicts(folder, pairs, labelled)
    check.labels = _count(pair.row.label for pair in pairs if pair.list == labelled)
    check.encodings = _count(pair.encoding for pair in pairs)
    check.image_formats = _count(pair.image_format for pair in pairs)
    check.words = _spread([len(pair.text.split()) for pair in pairs if pair.text is not None])
    check.widths = _spread([pair.image_size[0] for pair in pairs if pair.image_size])
    check.heights = _spread([pair.image_size[1] for pair in pairs if pair.image_size])
    return check


def _inspect(folder: Path, list_name: str, row: Row) -> _Pair:
    errors = []
    text = encoding = digest = image_format = size = None

    def error(file: str, fault: object) -> None:
        errors.append(Problem(list_name, row.line, row.guid, file, str(fault)))

    try:
        text, encoding = text_of(folder, row)
    except InputError as fault:
        error(text_place(folder, row, list_name), fault)
    file = image_place(folder, row, list_name)
    try:
        data = image_of(folder, row)
        load_image(data, ImageSettings())
        digest = hashlib.sha256(data).digest()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image_format, size = f"{image.format} {image.mode}", image.size
    except InputError as fault:
        error(file, fault)
    if row.packed is not None:  # of that, messages need no more than where the image lies
        path = None if row.packed.image is not None else row.packed.path
        row = replace(row, packed=Packed(None, None, path))
    return _Pair(row, list_name, tuple(errors), text, encoding, digest, image_format, size)


def _empty_texts(folder: Path, pairs: Sequence[_Pair]) -> list[Problem]:
    return [
        Problem(
            p.list, p.row.line, p.row.guid, text_place(folder, p.row, p.list), "the text is empty"
        )
        for p in pairs
        if p.text == ""
    ]


def _conflicts(folder: Path, pairs: Sequence[_Pair], labelled: str) -> list[Problem]:
    """Pairs whose image, or whose text, stands elsewhere with another label."""
    warnings = []
    by_image: dict[object, list[_Pair]] = defaultdict(list)
    by_text: dict[object, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.list == labelled and pair.image_digest:
            by_image[pair.image_digest].append(pair)
        if pair.list == labelled and pair.text:
            by_text[pair.text].append(pair)
    for what, locate, groups in (
        ("image", image_place, by_image.values()),
        ("text", text_place, by_text.values()),
    ):
        for group in groups:
            if len({pair.row.label for pair in group}) > 1:
                first, *others = group
                same = ", ".join(f"{other.row.guid} ({other.row.label})" for other in others)
                message = f"the same {what} has other labels: {first.row.label} here, {same}"
                file = locate(folder, first.row, first.list)
                warnings.append(Problem(first.list, first.row.line, first.row.guid, file, message))
    return warnings


def _count(values: Any) -> dict[str, int]:
    return dict(Counter(value for value in values if value is not None).most_common())


def _spread(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"smallest": min(values), "median": statistics.median(values), "largest": max(values)}


def describe(check: Check) -> str:
    """The check for a terminal: problems first, then what the folder holds."""
    lines = []
    for kind, problems in (("error", check.errors), ("warning", check.warnings)):
        lines += [f"{kind}: {problem}" for problem in problems]
    if lines:
        lines.append("")

    def table(title: str, counts: dict[str, Any]) -> None:
        if counts:
            values = ", ".join(f"{name} {value:g}" for name, value in counts.items())
            lines.append(f"{title:<15}{values}")

    table("rows", check.lists)
    table("labels", check.labels)
    table("text encodings", check.encodings)
    table("image formats", check.image_formats)
    table("words a text", check.words)
    table("image widths", check.widths)
    table("image heights", check.heights)
    lines.append(
        f"{len(check.errors)} errors, {len(check.warnings)} warnings in {check.folder}"
        if check.errors or check.warnings
        else f"nothing is wrong with {check.folder}"
    )
    return "\n".join(lines)

"""Checking a whole dataset folder: everything that is wrong with it, and what is in it."""

from __future__ import annotations

import hashlib
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mmsent.dataset import (
    TEST_LIST,
    TRAIN_LIST,
    Row,
    find_duplicates,
    image_file,
    read_image,
    read_list,
    read_text,
    text_file,
)
from mmsent.errors import InputError, Problem
from mmsent.image import FORMATS, ImageSettings, load_image
from mmsent.machine import available_cores
from mmsent.progress import Progress


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
    """Check the lists that ``folder`` has, and every text and image they name.

    Raises InputError where there is neither train.txt nor test_without_label.txt.
    """
    check = Check(str(folder))
    lists = [name for name in (TRAIN_LIST, TEST_LIST) if (folder / name).is_file()]
    if not lists:
        raise InputError(
            f"{folder} holds neither {TRAIN_LIST} nor {TEST_LIST}; --data names the dataset folder"
        )
    rows: list[tuple[str, Row]] = []
    for name in lists:
        try:
            found = list(read_list(folder / name, check.errors, labelled=name == TRAIN_LIST))
        except InputError as error:
            check.errors.append(Problem(name, 0, "", name, str(error)))
            continue
        check.lists[name] = len(found)
        check.errors += find_duplicates(found, name)
        rows += [(name, row) for row in found]

    def inspect(item: tuple[str, Row]) -> _Pair:
        pair = _inspect(folder, *item)
        progress.update()
        return pair

    with ThreadPoolExecutor(available_cores()) as pool:
        with Progress("checking", len(rows), "pairs") as progress:
            pairs = list(pool.map(inspect, rows))
    for pair in pairs:
        check.errors += pair.errors
    check.warnings += _empty_texts(folder, pairs) + _conflicts(folder, pairs)
    check.labels = _count(row.label for name, row in rows if name == TRAIN_LIST)
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
        text, encoding = read_text(folder, row.guid)
    except InputError as fault:
        error(text_file(folder, row.guid), fault)
    file = image_file(folder, row.guid)
    try:
        data = read_image(folder, row.guid)
        load_image(data, ImageSettings())
        digest = hashlib.sha256(data).digest()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image_format, size = f"{image.format} {image.mode}", image.size
    except InputError as fault:
        error(file, fault)
    return _Pair(row, list_name, tuple(errors), text, encoding, digest, image_format, size)


def _empty_texts(folder: Path, pairs: Sequence[_Pair]) -> list[Problem]:
    return [
        Problem(p.list, p.row.line, p.row.guid, text_file(folder, p.row.guid), "the text is empty")
        for p in pairs
        if p.text == ""
    ]


def _conflicts(folder: Path, pairs: Sequence[_Pair]) -> list[Problem]:
    """Pairs whose image, or whose text, stands elsewhere with another label."""
    warnings = []
    by_image: dict[object, list[_Pair]] = defaultdict(list)
    by_text: dict[object, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.list == TRAIN_LIST and pair.image_digest:
            by_image[pair.image_digest].append(pair)
        if pair.list == TRAIN_LIST and pair.text:
            by_text[pair.text].append(pair)
    for what, locate, groups in (
        ("image", image_file, by_image.values()),
        ("text", text_file, by_text.values()),
    ):
        for group in groups:
            if len({pair.row.label for pair in group}) > 1:
                first, *others = group
                same = ", ".join(f"{other.row.guid} ({other.row.label})" for other in others)
                message = f"the same {what} has other labels: {first.row.label} here, {same}"
                file = locate(folder, first.row.guid)
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

"""Checking a whole dataset: everything that is wrong with it, and what is in it."""

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mmsent.data.dataset import AS_IT_IS, Dataset, Reading, mark_duplicates, open_dataset
from mmsent.data.labels import VALIDATION_FRACTION, label_faults, order_labels
from mmsent.data.pair import Pair, Part
from mmsent.errors import InputError, Problem
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.decoding import open_image
from mmsent.inputs.image import ImageSettings, load_image
from mmsent.inputs.text import decode_text

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


class _Image(NamedTuple):
    digest: bytes
    format: str
    width: int
    height: int


class _Inspected(NamedTuple):
    """A pair and what it holds: its text and encoding, and its image; or what is wrong."""

    pair: Pair
    text: tuple[str, str] | Problem
    image: _Image | Problem


def check_dataset(
    path: Path, reading: Reading = AS_IT_IS, *, fraction: float = VALIDATION_FRACTION
) -> Check:
    """Check every list of a dataset, and every text and image they name.

    Raises InputError where there is no dataset.
    """
    dataset = open_dataset(path, reading)
    check = Check(str(path))
    inspected: list[_Inspected] = []
    labelled: list[_Inspected] = []
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        Progress("checking", None, "pairs") as progress,
    ):
        for each in dataset.lists:
            one = replace(dataset, lists=[each])
            found: list[_Inspected] = []
            must_be_labelled = _must_be_labelled(one)
            rows = mark_duplicates(one.rows(labelled=must_be_labelled))
            try:
                # Rows may hold their images in memory: not all of them at once.
                while some := list(islice(rows, WINDOW)):
                    for item in pool.map(_inspect, some):
                        if isinstance(item, Problem):
                            check.errors.append(item)
                        else:
                            found.append(item)
                    progress.update(len(some))
            except InputError as error:
                check.errors.append(Problem(each.name, 0, "", each.name, str(error)))
                continue
            check.lists[each.name] = len(found)
            inspected += found
            labelled += found if must_be_labelled else []
    texts = [item.text for item in inspected if not isinstance(item.text, Problem)]
    images = [item.image for item in inspected if not isinstance(item.image, Problem)]
    check.errors += [
        part for item in inspected for part in (item.text, item.image) if isinstance(part, Problem)
    ]
    check.warnings += [
        item.pair.problem("text", "the text is empty")
        for item in inspected
        if not isinstance(item.text, Problem) and not item.text[0]
    ]
    check.warnings += _conflicts("image", labelled) + _conflicts("text", labelled)
    check.labels = _count(item.pair.label for item in labelled)
    if labelled:
        faults = label_faults(check.labels, order_labels(check.labels), fraction=fraction)
        check.errors += [Problem(dataset.name, 0, "", dataset.name, fault) for fault in faults]
    check.encodings = _count(encoding for _, encoding in texts)
    check.image_formats = _count(image.format for image in images)
    check.words = _spread([len(text.split()) for text, _ in texts])
    check.widths = _spread([image.width for image in images])
    check.heights = _spread([image.height for image in images])
    return check


def _must_be_labelled(dataset: Dataset) -> bool:
    """Whether every row needs a label: all rows of a training list, else as soon as one has one."""
    if dataset.lists[0].split is not None:
        return dataset.lists[0].split != "test"
    with closing(dataset.rows(contents=False)) as rows:
        return any(isinstance(row, Pair) and row.label is not None for row in rows)


def _inspect(row: Pair | Problem) -> _Inspected | Problem:
    if isinstance(row, Problem):
        return row

    def inspect_image() -> _Image:
        data = row.read("image")
        load_image(data, ImageSettings())
        with open_image(data) as image:
            kind = f"{image.format} {image.mode}"
            return _Image(hashlib.sha256(data).digest(), kind, image.width, image.height)

    text = row.attempt("text", lambda: decode_text(row.read("text")))
    return _Inspected(row.without_content(), text, row.attempt("image", inspect_image))


def _conflicts(part: Part, labelled: Sequence[_Inspected]) -> list[Problem]:
    """Pairs whose image, or whose text, is elsewhere with another label."""
    groups: dict[str | bytes, list[Pair]] = defaultdict(list)
    for item in labelled:
        content = item.text if part == "text" else item.image
        if not isinstance(content, Problem):
            key = content.digest if isinstance(content, _Image) else content[0]
            if key:
                groups[key].append(item.pair)
    warnings = []
    for first, *others in groups.values():
        if any(other.label != first.label for other in others):
            same = ", ".join(f"{other.guid} ({other.label})" for other in others)
            message = f"the same {part} has other labels: {first.label} here, {same}"
            warnings.append(first.problem(part, message))
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

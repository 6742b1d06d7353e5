"""The role of each column of a list: by common names, or as the user says."""

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple, cast, get_args

from mmsent.errors import InputError

Role = Literal["guid", "text", "image", "label", "split"]
Columns = Mapping[Role, str]
"""The names of a list's columns by role; None if it has no such column."""

NAMES: dict[Role, tuple[str, ...]] = {
    "guid": ("guid", "id"),
    "text": ("text", "caption", "tweet", "sentence", "content", "post", "message"),
    "image": (
        "image", "img", "image_path", "img_path", "image_file", "file_name", "filename", "photo",
        "picture",
    ),
    "label": ("tag", "label", "labels", "sentiment", "emotion", "class", "category", "target"),
    "split": ("split",),
}  # fmt: skip
"""The names that each role may have; the first of them takes precedence."""

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Common names of the splits, and what they are called here."""


def plain(value: str | bool | int | float) -> str | None:
    """A value as text: booleans as in JSON, None for NaN and infinity."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)


class Cells(NamedTuple):
    """The cells of a row; None for an absent column or an empty cell.

    ``text``: encoded, like a text file; ``image``: the bytes of an image file or its path.
    """

    guid: str | None = None
    text: bytes | None = None
    image: bytes | str | None = None
    label: str | None = None
    split: str | None = None


def parse_columns(text: str) -> Columns:
    """Parse the option --columns, such as "text=tweet,label=emotion". Raises InputError."""
    columns: dict[Role, str] = {}
    for item in text.split(","):
        role, equals, name = (part.strip() for part in item.partition("="))
        if not equals or not name or role not in get_args(Role) or role in columns:
            raise InputError(
                f"{item.strip()!r} does not name a column; write ROLE=NAME, separated by commas, "
                f"with ROLE one of {', '.join(get_args(Role))}"
            )
        columns[cast(Role, role)] = name
    return columns


def find_columns(names: Sequence[str], given: Columns, source: str) -> Columns:
    """The columns of a list among ``names``; ``given``: those that the user names.

    ``source``: the list, for messages. If several columns could be the label, none is chosen, and
    only `require_label` complains. Raises InputError if a given name is missing or appears twice,
    or if several columns match another role.
    """
    found = dict(given)
    for role, name in given.items():
        if name not in names:
            near = get_close_matches(name.lower(), [other.lower() for other in names], 1)
            likely = [other for other in names if [other.lower()] == near] or _free(names, given)
            raise InputError(
                f"{source} has no column {name!r}; it has {listed(names)}{_hint(role, likely)}"
            )
    for role in get_args(Role):
        candidates = [] if role in given else _candidates(role, names, given)
        if len(candidates) == 1:
            found[role] = candidates[0]
        elif candidates and role != "label":
            raise _ambiguous(role, candidates, source)
    for name in found.values():
        if names.count(name) > 1:
            raise InputError(f"{source} has two columns named {name!r}; rename one")
    return found


def is_label_open(names: Sequence[str], columns: Columns) -> bool:
    """Whether several of ``names`` could be the label, so that ``columns`` has none."""
    return "label" not in columns and bool(_candidates("label", names, columns))


def require_label(names: Sequence[str], columns: Columns, source: str) -> None:
    """Raise InputError if ``columns``, found among ``names`` in ``source``, lack the label."""
    if "label" not in columns:
        if candidates := _candidates("label", names, columns):
            raise _ambiguous("label", candidates, source)
        raise InputError(
            f"{source} has no column for the label; it has "
            f"{listed(names)}{_hint('label', _free(names, columns))}"
        )


def find_split(cell: str) -> str | None:
    """The split that a cell, a folder name or the first folder of a path names, if any."""
    return SPLITS.get(re.split(r"[/\\]", cell.strip().lower(), maxsplit=1)[0])


def listed(names: Sequence[str]) -> str:
    """Column names, for a message; they are untrusted."""
    shown = [name if name.isprintable() else repr(name) for name in names[:20]]
    shown = [name if len(name) <= 40 else f"{name[:40]}…" for name in shown]
    return ", ".join(shown + ["…"] * (len(names) > 20)) or "none"


def _free(names: Sequence[str], taken: Columns) -> list[str]:
    return [name for name in names if name not in taken.values()]


def _candidates(role: Role, names: Sequence[str], taken: Columns) -> list[str]:
    """The names that match a role: the first of NAMES alone, otherwise any of them."""
    free = _free(names, taken)
    matching = [*dict.fromkeys(name for name in free if name.strip().lower() in NAMES[role])]
    first = [name for name in matching if name.strip().lower() == NAMES[role][0]]
    return first or matching


def _ambiguous(role: Role, candidates: Sequence[str], source: str) -> InputError:
    return InputError(
        f"{source}: the columns {listed(candidates)} could each be the {role}; choose one with "
        f"--columns {role}={listed(candidates[:1])}"
    )


def _hint(role: Role, likely: Sequence[str]) -> str:
    name = listed(likely[:1])
    return f". If the {role} is {name!r}, write --columns {role}={name}" if likely else ""

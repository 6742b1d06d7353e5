"""Which column of a list is what: by the names that people use, or as the user says."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple, cast, get_args

from mmsent.errors import InputError

Role = Literal["guid", "text", "image", "label", "split"]
Columns = Mapping[Role, str]
"""The name of the column of each role that a list has."""

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
"""How the columns of each role are called; the first of them is taken before the others."""

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
"""What a column or folder calls the parts of a dataset, and what they are called here."""


def plain(value: str | bool | int | float) -> str | None:
    """A value as text: booleans as JSON writes them, None for what is not a number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value != value else str(value)


class Cells(NamedTuple):
    """What a row says of itself; None where it has no such column or nothing in it.

    ``text`` is as the bytes of a text file; ``image`` the bytes of an image file or its path.
    """

    guid: str | None = None
    text: bytes | None = None
    image: bytes | str | None = None
    label: str | None = None
    split: str | None = None


def parse_columns(text: str) -> Columns:
    """The columns that ``text``, as "text=tweet,label=emotion", says. Raises InputError."""
    columns: dict[Role, str] = {}
    for item in text.split(","):
        role, equals, name = (part.strip() for part in item.partition("="))
        if not equals or not name or role not in get_args(Role) or role in columns:
            raise InputError(
                f"{item.strip()!r} does not name a column; write ROLE=NAME, separated by commas, "
                f"where ROLE is one of {', '.join(get_args(Role))}"
            )
        columns[cast(Role, role)] = name
    return columns


def find_columns(names: Sequence[str], given: Columns, source: str) -> Columns:
    """The columns of a list, among ``names``; ``given`` are those that the user names.

    ``source`` is the list, for messages. Where several could be the label there is none: only
    `require_label` minds. Raises InputError where a name is missing or stands twice, or several
    columns could be the one that is meant.
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
            raise InputError(f"{source} has two columns {name!r}; rename one")
    return found


def is_label_open(names: Sequence[str], columns: Columns) -> bool:
    """Whether several of ``names`` could be the label, so that ``columns`` has none."""
    return "label" not in columns and bool(_candidates("label", names, columns))


def require_label(names: Sequence[str], columns: Columns, source: str) -> None:
    """Raise InputError where ``columns``, found among ``names`` in ``source``, lack the label."""
    if "label" not in columns:
        if candidates := _candidates("label", names, columns):
            raise _ambiguous("label", candidates, source)
        raise InputError(
            f"{source} lacks a column for the label; it has "
            f"{listed(names)}{_hint('label', _free(names, columns))}"
        )


def find_split(cell: str) -> str | None:
    """The part of a dataset that a cell, a folder or the folder of a path names, if any."""
    return SPLITS.get(re.split(r"[/\\]", cell.strip().lower(), maxsplit=1)[0])


def listed(names: Sequence[str]) -> str:
    """Names of columns, for a message: strangers wrote them."""
    shown = [name if name.isprintable() else repr(name) for name in names[:20]]
    shown = [name if len(name) <= 40 else f"{name[:40]}…" for name in shown]
    return ", ".join(shown + ["…"] * (len(names) > 20)) or "none"


def _free(names: Sequence[str], taken: Columns) -> list[str]:
    return [name for name in names if name not in taken.values()]


def _candidates(role: Role, names: Sequence[str], taken: Columns) -> list[str]:
    """The names that could be a role's: the first of NAMES alone, else any of them."""
    free = _free(names, taken)
    matching = [*dict.fromkeys(name for name in free if name.strip().lower() in NAMES[role])]
    first = [name for name in matching if name.strip().lower() == NAMES[role][0]]
    return first or matching


def _ambiguous(role: Role, candidates: Sequence[str], source: str) -> InputError:
    return InputError(
        f"{source}: the columns {listed(candidates)} could each be the {role}; say which it is: "
        f"--columns {role}={listed(candidates[:1])}"
    )


def _hint(role: Role, likely: Sequence[str]) -> str:
    name = listed(likely[:1])
    return f". If the {role} is {name!r}, write --columns {role}={name}" if likely else ""

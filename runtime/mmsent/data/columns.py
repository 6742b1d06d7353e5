"""Which column of a list is what: by the names that people use, or as the user says."""

from collections.abc import Iterable, Mapping, Sequence
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

    ``source`` is the list, for messages. Raises InputError where a name is missing or stands
    twice, or several columns could be the one that is meant.
    """
    found = dict(given)
    for name in given.values():
        if name not in names:
            raise InputError(f"{source} has no column {name!r}; it has {listed(names)}")
    free = [name for name in names if name not in given.values()]
    for role in get_args(Role):
        if role in given:
            continue
        known = NAMES[role]
        matching = [*dict.fromkeys(name for name in free if name.strip().lower() in known)]
        first = [name for name in matching if name.strip().lower() == known[0]]
        if len(first or matching) > 1:
            raise InputError(
                f"{source}: the columns {listed(matching)} could each be the {role}; say which it "
                f"is: --columns {role}={matching[0]}"
            )
        if matching:
            found[role] = (first or matching)[0]
    for name in found.values():
        if names.count(name) > 1:
            raise InputError(f"{source} has two columns {name!r}; rename one")
    return found


def require(columns: Columns, roles: Iterable[Role], source: str) -> None:
    """Raise InputError where ``columns``, those of the list ``source``, lacks one of ``roles``."""
    missing = [role for role in roles if role not in columns]
    if missing:
        names = ",".join(f"{role}=NAME" for role in missing)
        raise InputError(
            f"{source} lacks a column for the {' and the '.join(missing)}; if it has one, say "
            f"which it is: --columns {names}"
        )


def find_split(cell: str) -> str | None:
    """The part of a dataset that a cell or a folder names; None where it names none."""
    return SPLITS.get(cell.strip().lower())


def listed(names: Sequence[str]) -> str:
    """Names of columns, for a message."""
    shown = ", ".join(names[:20])
    return f"{shown}, …" if len(names) > 20 else shown or "none"

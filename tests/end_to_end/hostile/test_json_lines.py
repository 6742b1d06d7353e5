"""Bad JSON Lines, and odd but valid ones."""

import json
import os

import pytest

from .cases import accepted, refused
from .test_lists import CONTROLS, FORMULAS, INVISIBLE

GOOD = [{"id": guid, "text": "a fun day", "image": f"data/{guid}.jpg"} for guid in "123"]


def write(dataset, *lines):
    """Write a list of three good rows, then some bytes or the values of more rows."""
    written = [*(json.dumps(row).encode() for row in GOOD)]
    for line in lines:
        written.append(
            line if isinstance(line, bytes) else json.dumps({**GOOD[0], **line}).encode()
        )
    (dataset / "list.jsonl").write_bytes(b"\n".join(written))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 4: the line is not JSON"),
        (b"{'id': 1}", "line 4: the line is not JSON"),
        (b"[]", "line 4: the line is not a JSON object"),
        (b"1", "line 4: the line is not a JSON object"),
        (b"null", "line 4: the line is not a JSON object"),
        (b'"id"', "line 4: the line is not a JSON object"),
        (b"[" * 100_000, "line 4: the line is not JSON"),
        (b'{"a":' * 100_000, "line 4: the line is not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 4: the line is not JSON"),
        (b"\x00", "line 4: the line is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b'{"id": "\xa1\xb0"}', "is not UTF-8"),
        (b'{"id": "' + b"x" * (1 << 22) + b'"}', "line 4 is longer than 4194304 characters"),
        (b"{}", "line 4: the guid is missing"),
        (b'{"id": 4}', "neither text nor image"),
        (b'{"id": 4, "text": "a"}', "has no image"),
        ({"id": ["1"]}, "'id' is a list or an object, but the guid must be a single value"),
        ({"text": {"a": 1}}, "'text' is a list or an object, but the text must be a single value"),
        (
            {"image": ["data/1.jpg"]},
            "'image' is a list or an object, but the image must be a single value",
        ),
        ({"id": "\ud800"}, "half of a surrogate pair"),
        ({"text": "fun \udfff"}, "half of a surrogate pair"),
        ({"image": "data/\ud800.jpg"}, "half of a surrogate pair"),
        ({"id": 8.0}, "decimal point"),
        ({"text": "a" * ((1 << 20) + 1)}, "the text is larger than 1024 KiB"),
    ],
    ids=range(24),
)
def test_bad_line(run_command, dataset, line, message):
    write(dataset, line)
    refused(run_command, dataset, message, "list.jsonl")


@pytest.mark.parametrize(
    ("guid", "message"),
    [
        *((f"1{guid}2", "control characters") for guid in CONTROLS),
        *((guid, "control characters") for guid in INVISIBLE),
        *((guid, "as a formula") for guid in FORMULAS),
        ("", "the guid is missing"),
        (None, "the guid is missing"),
    ],
)
def test_bad_guid(run_command, dataset, guid, message):
    write(dataset, {"id": guid})
    refused(run_command, dataset, message, "list.jsonl")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../secret.jpg", "leads out"),
        ("/etc/passwd", "leads out"),
        ("data/../../secret.jpg", "leads out"),
        ("data/out.jpg", "leads out"),
        ("link/secret.jpg", "leads out"),
        ("data/1.jpg\x00.txt", "NUL byte"),
        ("data", "is not a regular file"),
        (".", "is not a regular file"),
        ("data/pipe", "is not a regular file"),
        ("data/1.txt", "can't be decoded"),
        ("data/none.jpg", "does not exist"),
        ("http://127.0.0.1/1.jpg", "does not exist"),
        ("file:///etc/passwd", "does not exist"),
        ("~/1.jpg", "does not exist"),
        ("$HOME/1.jpg", "does not exist"),
        ("data/" + "x" * 300, "File name too long"),
        (7, "does not exist"),
        (True, "does not exist"),
    ],
    ids=range(18),
)
def test_bad_image_path(run_command, dataset, place, message):
    (dataset.parent / "secret.jpg").write_bytes((dataset / "data" / "1.jpg").read_bytes())
    (dataset / "data" / "out.jpg").symlink_to(dataset.parent / "secret.jpg")
    (dataset / "link").symlink_to(dataset.parent)
    os.mkfifo(dataset / "data" / "pipe")
    write(dataset, {"image": place})
    refused(run_command, dataset, message, "list.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; each line must be an object"),
        (b"\n\n", "is empty; each line must be an object"),
        (b"{}", "each line must be an object with the keys"),
        (b"[]", "line 1: the line is not a JSON object; each line must be an object"),
        (b'\n[{"text": "a"}]', "line 2: the line is not a JSON object"),
        (b'[\n  {\n    "text": "a"\n  }\n]', "line 1: the line is not JSON"),
        (b"1\n2\n", "line 1: the line is not a JSON object"),
        (b"\x00", "line 1: the line is not JSON"),
        (b"PK\x03\x04", "line 1: the line is not JSON"),
        (b'{"": ""}', "must name the columns"),
        (b'{"a": 1, "b": 2}', "must name the columns"),
    ],
)
def test_no_known_key(run_command, dataset, content, message):
    (dataset / "list.jsonl").write_bytes(content)
    refused(run_command, dataset, message, "list.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        {"label": ["several", "labels"]},
        {"label": {"a": 1}},
        {"label": float("nan")},
        {"other": [[[[]]]] * 50},
        {"text": 8.5},
        {"text": True},
        {"text": "\u2028\u202e\x00\x1b[2J"},
        {"id": 10**400},
        b"  ",
        b'{"id": 5, "id": 6, "text": "twice", "image": "data/1.jpg"}',
        b'\t{"id": 5, "text": "\\u0041\\n", "image": "data//1.jpg"}\r',
        b'{"id": 5, "text": "a", "image": "./data/../data/1.jpg"}',
    ],
    ids=range(12),
)
def test_an_odd_but_valid_line(run_command, dataset, line):
    write(dataset, line)
    accepted(run_command, dataset, "list.jsonl")

"""Lists with a bad guid, or that are not lists."""

import pytest

from .cases import refused

PATHS = """
    ../../etc/passwd ../1 ..\\1 ..\\..\\windows\\win.ini /etc/passwd C:\\boot.ini C:1 a/b a\\b ./1
    1/ / // ... file:///etc/passwd \\\\host\\share 1:stream %2e%2e/1 ....//1 ~/1 1/../2 data/1 ..;/1
    """.split()
CONTROLS = ["\x01", "\x07", "\x08", "\x1b[2J", "\x1b]0;title\x07", "\x7f", "\x85", "\x9b31m"]
INVISIBLE = [
    "\u202e1",
    "1\u200b",
    "\u2066x",
    "1\u2028x",
    "1\u2029x",
    "\ufeff1",
    "\u00ad1",
    "1\ufff9",
]
FORMULAS = [
    "=1+1", "=cmd|' -C calc'!A0", "=HYPERLINK(A1)", "=A1", "==1", "+SUM(A1)", "-SUM(A1)",
    "@SUM(A1)", "-2+3", "+1+2", "@a|b", "-1*2", "=DDE(1)", "\uff1d1+1", "\uff0bSUM(A1)",
    "\uff0dSUM(A1)", "\uff20SUM(A1)",
]  # fmt: skip
NUMBERS = ["1.0", "1.", "12345.000", "-1.0", "+7.0"]


@pytest.mark.parametrize(
    ("guid", "message"),
    [
        *((guid, "can't contain slashes") for guid in PATHS if guid not in ("...", "..", ".")),
        *((guid, "can't contain slashes") for guid in ("..", ".")),
        *((f"1{guid}2", "control characters") for guid in CONTROLS),
        *((guid, "control characters") for guid in INVISIBLE),
        *((guid, "as a formula") for guid in FORMULAS if "/" not in guid),
        *((guid, "decimal point") for guid in NUMBERS),
        ("", "the guid is missing"),
        ("   ", "the guid is missing"),
        ("1\n2", "control characters"),
        ("1\r2", "control characters"),
        ("1\t2", "control characters"),
        ("1\x002", "control characters"),
        ("x" * 300, "File name too long"),
        ("x" * 5000, "File name too long"),
        ("\U0001f600" * 64, "File name too long"),
        ("none", "does not exist"),
        ("1 2", "does not exist"),
        ("...", "does not exist"),
        ("-5", "does not exist"),
        ("--help", "does not exist"),
        ("$(id)", "does not exist"),
        ("`id`", "does not exist"),
        ("*", "does not exist"),
        ("1;id", "does not exist"),
        ("%s%n", "does not exist"),
        ("{0}", "does not exist"),
    ],
)
def test_bad_guid(run_command, dataset, guid, message):
    with open(dataset / "list.csv", "a", encoding="utf-8", newline="") as file:
        file.write('"' + guid.replace('"', '""') + '",null\n')
    refused(run_command, dataset, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must name the columns"),
        (b"\n\n\n", "must name the columns"),
        (b"1,null\n", "must name the columns"),
        (b"tag\nnull\n", "must name the columns"),
        (b"\xff\xfeg\x00u\x00i\x00d\x00", "is not UTF-8"),
        (b"guid\n\xa1\xb0\n", "is not UTF-8"),
        (b"guid\n\xed\xa0\x80\n", "is not UTF-8"),
        (b"guid\n\xc0\xaf\n", "is not UTF-8"),
        (b"guid\n\xf4\x90\x80\x80\n", "is not UTF-8"),
        (b'guid,tag\n"1,null\n', "is not a CSV file"),
        (b'guid,tag\n"1"x,null\n', "is not a CSV file"),
        (b"guid,tag\n" + b"1" * 140_000, "line 2: a cell is longer than 131072 characters"),
        (b"guid,tag\n1," + b"x" * 140_000, "line 2: a cell is longer than 131072 characters"),
        (b"x" * 3_000_000, "is not a CSV file"),
        (b"guid,tag\n" + b"," * 2_000_000, "is not a CSV file"),
        (b"\x00" * 2_000_000, "is not a CSV file"),
        (b"guid,tag\n1\n", "1 fields, but the header has 2"),
        (b"guid,tag\n1,2,3\n", "3 fields, but the header has 2"),
        (b"guid,tag\n" + b"1," * 1000 + b"\n", "1001 fields"),
        (b"PK\x03\x04" + bytes(range(128, 200)), "is not UTF-8"),
        (b'{"guid": 1}\n', "must name the columns"),
        (b"guid\ttag\n1\n", "1 fields, but the header has 2"),
        (b"guid;tag\n1\n", "1 fields, but the header has 2"),
        (b"GUID,TAG\n/,null\n", "can't contain slashes"),
        (b"guid,guid\n/,1\n", "two columns named 'guid'"),
    ],
    ids=range(25),
)
def test_bad_list(run_command, dataset, content, message):
    (dataset / "list.csv").write_bytes(content)
    refused(run_command, dataset, message)

"""Texts that can't be read, and odd but valid ones."""

import os

import pytest

from .cases import accepted, refused


@pytest.mark.parametrize(
    "content",
    [
        b"\xff", b"\x80", b"caf\xe9", b"\xc3", b"\xf0\x9f\x98", b"\x81\x30\x81",
        b"\xfe\xfe\xfe", b"fine \xff", b"\xff\xfea\x00", b"\xa1", b"\x81\x7f", b"\xe3\x32\x9a\x36",
    ],
)  # fmt: skip
def test_an_unknown_encoding(run_command, dataset, content):
    (dataset / "data" / "2.txt").write_bytes(content)
    refused(run_command, dataset, "neither UTF-8 nor GB18030")


@pytest.mark.parametrize(
    "size", [(1 << 20) + 1, 1 << 24, 1 << 36], ids=["1 MiB", "16 MiB", "64 GiB"]
)
def test_an_enormous_text(run_command, dataset, size):
    """Sparse files take no space on disk."""
    os.truncate(dataset / "data" / "2.txt", size)
    refused(run_command, dataset, "the text is larger than 1024 KiB")


@pytest.mark.parametrize(
    "content",
    [
        b"", b" \n\t", b"\x00", b"a\x00b" * 99, b"\xef\xbb\xbf", "\u202efun".encode(), b"\x1b[2J",
        "\ufffe\uffff".encode(), ("a" + "\u0301" * 5000).encode(), b"fun " * 200_000, b"a" * 10**6,
        b"\n" * 100_000, "\U0010ffff".encode(), b"<script>", b"'; DROP TABLE", b"${jndi:ldap://x}",
        b"%n%s", b"=1+1", "\u0000\u0001\u0002".encode(), "\U0001f600".encode("gb18030"),
    ],
    ids=range(20),
)  # fmt: skip
def test_an_odd_but_valid_text(run_command, dataset, content):
    (dataset / "data" / "2.txt").write_bytes(content)
    accepted(run_command, dataset)

"""Image folders with files that do not belong there."""

import csv
import os
import shutil

import pytest

from .cases import accepted, infer, refused
from .test_files import device, directory, local_socket, pipe, to_itself, to_nowhere


@pytest.fixture
def folder(dataset):
    """A test split with three images and their metadata file."""
    part = dataset / "folder" / "test"
    part.mkdir(parents=True)
    for guid in "123":
        shutil.copy(dataset / "data" / f"{guid}.jpg", part)
    rows(part, [f"{guid}.jpg" for guid in "123"])
    return part


def rows(part, names):
    with open(part / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("file_name", "text"), *((name, "a fun day") for name in names)]
        )


@pytest.mark.parametrize(
    "make", [directory, pipe, device, to_nowhere, to_itself, local_socket], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("name", ["metadata.csv", "2.jpg"])
def test_not_a_regular_file(run_command, dataset, folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    result = infer(run_command, dataset, "folder")
    assert result.code != 0
    assert name in result.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../data/1.jpg", "leads out"),
        ("/etc/passwd", "leads out"),
        ("out/1.jpg", "leads out"),
        ("out.jpg", "leads out"),
        ("../test/none.jpg", "does not exist"),
        ("none.jpg", "does not exist"),
        ("", "the guid is missing"),
        ("=1+1.jpg", "as a formula"),
        ("1\x1b[2J.jpg", "control characters"),
        ("\u202e1.jpg", "control characters"),
        ("metadata.csv", "can't be decoded"),
        (".", "is not a regular file"),
        ("x" * 300, "File name too long"),
    ],
    ids=range(13),
)
def test_bad_file_name(run_command, dataset, folder, name, message):
    (folder / "out").symlink_to(dataset / "data")
    (folder / "out.jpg").symlink_to(dataset / "data" / "1.jpg")
    rows(folder, ["1.jpg", "2.jpg", name])
    refused(run_command, dataset, message, "folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'file_name'"),
        (b"text\na\n", "has no column 'file_name'"),
        (b"file_name,text,file_name\n1.jpg,a,1.jpg\n", "two columns named 'file_name'"),
        (b"file_name,caption,tweet\n1.jpg,a,b\n", "could each be the text"),
        (b"file_name,text\n1.jpg\n", "1 fields, but the header has 2"),
        (b"\xff\xfef\x00", "is not UTF-8"),
        (b"file_name,text\n" + b"x" * 200_000, "a cell is longer than"),
        (b"file_name,text\n,a\n", "the guid is missing"),
    ],
    ids=range(8),
)
def test_bad_metadata(run_command, dataset, folder, content, message):
    (folder / "metadata.csv").write_bytes(content)
    refused(run_command, dataset, message, "folder")


def test_a_label_folder_that_leads_outside(run_command, dataset, folder):
    (folder / "metadata.csv").unlink()
    shutil.move(folder, dataset / "elsewhere")
    folder.mkdir()
    (folder / "dog").symlink_to(dataset / "elsewhere")
    refused(run_command, dataset, "leads out of the dataset folder", "folder")


def test_endless_folders(run_command, dataset, folder):
    (folder / "metadata.csv").unlink()
    (folder / "dog").mkdir()
    (folder / "dog" / "again").symlink_to("..")
    refused(run_command, dataset, "images must be directly in the folder of their label", "folder")


def test_names_that_are_not_utf8(run_command, dataset, folder):
    (folder / "metadata.csv").unlink()
    os.rename(os.fsencode(folder / "1.jpg"), os.fsencode(folder) + b"/caf\xe9.jpg")
    refused(run_command, dataset, "control characters", "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder(run_command, dataset, folder):
    folder.chmod(0)
    refused(run_command, dataset, "can't be read", "folder")
    folder.chmod(0o700)


def test_links_that_stay_inside(run_command, dataset, folder):
    (folder / "below").mkdir()
    shutil.move(folder / "2.jpg", folder / "below" / "2.jpg")
    (folder / "2.jpg").symlink_to("below/2.jpg")
    accepted(run_command, dataset, "folder")

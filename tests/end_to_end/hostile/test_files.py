"""Folders, pipes, devices, sockets and links instead of files."""

import os
import shutil
import socket

import pytest

from .cases import accepted, infer, refused


def directory(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def to_nowhere(path):
    path.symlink_to("nowhere")


def to_itself(path):
    path.symlink_to(path.name)


def local_socket(path):
    """Bind a socket by a short path, since the limit is 107 bytes."""
    with socket.socket(socket.AF_UNIX) as file:
        before = os.getcwd()
        os.chdir(path.parent)
        try:
            file.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize(
    "make", [directory, pipe, device, to_nowhere, to_itself, local_socket], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("name", ["list.csv", "model.onnx", "data/2.txt", "data/2.jpg"])
def test_not_a_regular_file(run_command, dataset, name, make):
    (dataset / name).unlink()
    make(dataset / name)
    result = infer(run_command, dataset)
    assert result.code != 0
    assert name in result.err


@pytest.mark.parametrize("name", ["2.txt", "2.jpg"])
@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("through", [True, False], ids=["over another link", "directly"])
def test_a_link_out_of_the_folder(run_command, dataset, name, absolute, through):
    secret = dataset.parent / "secret"
    shutil.move(dataset / "data" / name, secret)
    link = dataset / "data" / name
    if through:
        (dataset / "data" / "step").symlink_to(secret)
        secret = dataset / "data" / "step"
    link.symlink_to(secret if absolute else os.path.relpath(secret, link.parent))
    refused(run_command, dataset, "a symbolic link that leads out of the dataset folder")


@pytest.mark.parametrize("name", ["2.txt", "2.jpg"])
def test_links_that_stay_inside(run_command, dataset, name):
    (dataset / "data" / "kept").mkdir()
    shutil.move(dataset / "data" / name, dataset / "data" / "kept" / name)
    (dataset / "data" / name).symlink_to(f"kept/{name}")
    accepted(run_command, dataset)


def test_a_linked_data_folder_and_hard_links(run_command, dataset):
    os.unlink(dataset / "data" / "2.jpg")
    os.link(dataset / "data" / "1.jpg", dataset / "data" / "2.jpg")
    shutil.move(dataset / "data", dataset.parent / "elsewhere")
    (dataset / "data").symlink_to(dataset.parent / "elsewhere")
    accepted(run_command, dataset)

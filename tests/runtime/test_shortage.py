"""Lack of memory or file handles is never reported as an error in a row, file or image."""

import errno
import io
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from mmsent.data.dataset import open_dataset
from mmsent.data.parquet import import_pyarrow
from mmsent.errors import InputError, Shortage
from mmsent.files.bounded import open_file, read_file
from mmsent.inputs.image import ImageSettings, load_image

LACKS = [errno.ENOMEM, errno.EMFILE, errno.ENFILE]


def fail(*arguments, **options):
    raise MemoryError


def photo(format="JPEG"):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(file, format, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("number", LACKS)
@pytest.mark.parametrize("read", [open_file, lambda *given: read_file(*given, limit=9)])
def test_too_many_open_files(tmp_path, monkeypatch, number, read):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    (tmp_path / "1.txt").write_text("a")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Shortage):
        read(tmp_path / "1.txt", "the text")


@pytest.mark.parametrize("place", ["open", "Image.getexif", "Image.resize", "Image.transpose"])
def test_out_of_memory_is_not_an_error_in_an_image(tmp_path, monkeypatch, place):
    (tmp_path / "1.jpg").write_bytes(photo())
    monkeypatch.setattr(f"PIL.Image.{place}", fail)
    for source in (photo(), tmp_path / "1.jpg"):
        with pytest.raises(Shortage):
            load_image(source, ImageSettings(8))


def test_out_of_memory_while_diagnosing_an_image(monkeypatch):
    """No reader accepts the image, and memory runs out during the search for the cause."""
    png = bytearray(photo("PNG"))
    png[40] ^= 1  # a checksum
    png[20] ^= 1
    with pytest.raises(InputError, match="PNG"):
        load_image(bytes(png), ImageSettings(8))
    calls = []

    class Reader(PngImagePlugin.PngImageFile):
        def _open(self):
            calls.append(self)
            if len(calls) > 1:
                raise MemoryError
            super()._open()

    monkeypatch.setitem(Image.OPEN, "PNG", (Reader, Image.OPEN["PNG"][1]))
    with pytest.raises(Shortage):
        load_image(bytes(png), ImageSettings(8))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), Shortage),
        (pa.ArrowMemoryError("malloc of size 16777216 failed"), Shortage),
        (pa.ArrowMemoryError(f"realloc of size {1 << 50} failed"), InputError),
        (pa.ArrowInvalid("broken"), InputError),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Shortage),
    ],
)
def test_out_of_memory_is_not_an_error_in_a_parquet_file(tmp_path, monkeypatch, error, kind):
    """Unless the file asks for more than any machine has."""

    def refuse(*arguments, **options):
        raise error

    pq.write_table(pa.table({"guid": ["1"], "text": ["a"]}), tmp_path / "a.parquet")
    data = open_dataset(tmp_path / "a.parquet")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refuse)
    with pytest.raises(kind):
        list(data.rows())


def test_a_library_that_cannot_be_mapped_is_not_missing(monkeypatch):
    """The dynamic linker's message under `ulimit -v`."""

    class Loader:
        def find_spec(self, name, *arguments):
            if name == "pyarrow":
                raise ImportError("libarrow.so: failed to map segment from shared object")

    monkeypatch.delitem(sys.modules, "pyarrow")
    monkeypatch.setattr(sys, "meta_path", [Loader(), *sys.meta_path])
    with pytest.raises(Shortage):
        import_pyarrow()

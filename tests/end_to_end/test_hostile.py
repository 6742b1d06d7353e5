"""Bad input, a case each: one message that names it, no traceback, nothing written.

A case is one spoiled file in a small dataset, bundle or run, given to the command that reads it.
"""

import io
import json
import os
import shutil
import socket
import struct
import zlib

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import load_file, save_file

from mmsent.bundle.info import INFO_KEY, TOKENIZER_KEY

from ..small_bundle import SIZE, small_model, write_small_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three pairs, their list, and a bundle. Not to be changed."""
    folder = tmp_path_factory.mktemp("hostile") / "dataset"
    (folder / "data").mkdir(parents=True)
    for guid in "123":
        (folder / "data" / f"{guid}.txt").write_text("a fun day")
        Image.new("RGB", (9, 9), (200, 0, 0)).save(folder / "data" / f"{guid}.jpg", "JPEG")
    (folder / "list.csv").write_text("guid,tag\n1,null\n2,null\n3,null\n")
    write_small_bundle(folder / "model.onnx")
    return folder


@pytest.fixture
def dataset(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "dataset")


def infer(run_command, dataset):
    output = dataset.parent / "out.csv"
    before = everything(dataset.parent)
    result = run_command(
        "mmsent-infer", dataset / "list.csv", "--model", dataset / "model.onnx",
        "--output", output, cwd=dataset.parent,
    )  # fmt: skip
    assert "Traceback" not in result.err
    after = everything(dataset.parent)
    if result.code == 0:
        assert len(output.read_text().splitlines()) >= 4
        assert after == before | {output}
    else:
        assert result.code in (1, 2)
        assert after == before, "partial output"
    return result


def everything(folder):
    return set(folder.rglob("*"))


def refused(run_command, dataset, message):
    result = infer(run_command, dataset)
    assert result.code != 0
    assert message in result.err
    assert result.err.startswith("Error: ")


def accepted(run_command, dataset):
    result = infer(run_command, dataset)
    assert result.code == 0, result.err


# Lists

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
        *((guid, "can't hold slashes") for guid in PATHS if guid not in ("...", "..", ".")),
        *((guid, "can't hold slashes") for guid in ("..", ".")),
        *((f"1{guid}2", "control characters") for guid in CONTROLS),
        *((guid, "control characters") for guid in INVISIBLE),
        *((guid, "for a formula") for guid in FORMULAS if "/" not in guid),
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
def test_a_guid(run_command, dataset, guid, message):
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
        (b"guid,tag\n" + b"1" * 140_000, "is not a CSV file"),
        (b"guid,tag\n1," + b"x" * 140_000, "is not a CSV file"),
        (b"x" * 3_000_000, "is not a CSV file"),
        (b"guid,tag\n" + b"," * 2_000_000, "is not a CSV file"),
        (b"\x00" * 2_000_000, "is not a CSV file"),
        (b"guid,tag\n1\n", "1 fields where the header has 2"),
        (b"guid,tag\n1,2,3\n", "3 fields where the header has 2"),
        (b"guid,tag\n" + b"1," * 1000 + b"\n", "1001 fields"),
        (b"PK\x03\x04" + bytes(range(128, 200)), "is not UTF-8"),
        (b'{"guid": 1}\n', "must name the columns"),
        (b"guid\ttag\n1\tnull\n", "must name the columns"),
        (b"guid;tag\n1;null\n", "must name the columns"),
        (b"GUID,TAG\n/,null\n", "can't hold slashes"),
        (b"guid,guid\n/,1\n", "can't hold slashes"),
    ],
    ids=range(25),
)
def test_a_list(run_command, dataset, content, message):
    (dataset / "list.csv").write_bytes(content)
    refused(run_command, dataset, message)


# What is no file


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
    """Bound by a short path: a socket's may hold 107 bytes."""
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
def test_something_else_in_a_files_place(run_command, dataset, name, make):
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


# Texts


@pytest.mark.parametrize(
    "content",
    [
        b"\xff", b"\x80", b"caf\xe9", b"\xc3", b"\xf0\x9f\x98", b"\x81\x30\x81",
        b"\xfe\xfe\xfe", b"fine \xff", b"\xff\xfea\x00", b"\xa1", b"\x81\x7f", b"\xe3\x32\x9a\x36",
    ],
)  # fmt: skip
def test_a_text_of_no_encoding(run_command, dataset, content):
    (dataset / "data" / "2.txt").write_bytes(content)
    refused(run_command, dataset, "neither UTF-8 nor GB18030")


@pytest.mark.parametrize(
    "size", [(1 << 20) + 1, 1 << 24, 1 << 36], ids=["1 MiB", "16 MiB", "64 GiB"]
)
def test_an_enormous_text(run_command, dataset, size):
    """Sparse files: they take no room on the disk."""
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
def test_an_odd_text_that_is_a_text(run_command, dataset, content):
    (dataset / "data" / "2.txt").write_bytes(content)
    accepted(run_command, dataset)


# Images

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def encoded(format, image=PICTURE, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, data):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, colour=2):
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_a_truncated_image(run_command, dataset, format, share):
    data = encoded(format)
    (dataset / "data" / "2.jpg").write_bytes(data[: int(len(data) * share)])
    refused(run_command, dataset, "can't be decoded")


@pytest.mark.parametrize(
    "format", ["EPS", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "PDF", "ICNS", "IM", "DDS",
               "MSP", "SPIDER", "XBM", "DIB", "BLP"],
)  # fmt: skip
def test_a_format_that_is_not_read(run_command, dataset, format):
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P"}.get(format, "RGB")
    (dataset / "data" / "2.jpg").write_bytes(encoded(format, PICTURE.convert(mode)))
    refused(run_command, dataset, "it is none of JPEG, PNG")


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%PDF-1.7\n", b"<html>404</html>", b"push graphic-context\nfill 'url(https://x)'\n",
        b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x00\x00\x00\x00WEBP",
        b"II*\x00", b"MM\x00*", b"II*\x00\xff\xff\xff\xff", b"\x00\x00\x00\x20ftypavif",
        b"\x00" * 99, b"MZ", b"\x7fELF", b"PK\x03\x04", b"\x1f\x8b", b"#!/bin/sh\nid\n",
        b"guid,tag\n1,null\n",
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_image(run_command, dataset, content):
    (dataset / "data" / "2.jpg").write_bytes(content)
    refused(run_command, dataset, "can't be decoded")


def resized(format, width, height):
    """An image whose header tells another size than its data have."""
    data = bytearray(encoded(format))
    if format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
        place = data.index(b"\x2c\x00\x00\x00\x00") + 5  # the first picture's own size
        data[place : place + 4] = struct.pack("<HH", width, height)
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif format == "TIFF":
        for tag, value in ((256, width), (257, height)):
            place = data.index(struct.pack("<HH", tag, 4)) + 8
            data[place : place + 4] = struct.pack("<I", value)
    return bytes(data)


BOMBS = {
    "a PNG of 65,000 x 65,000": png(65_000, 65_000, chunk(b"IDAT", zlib.compress(b"\x00" * 99))),
    "a PNG of 2^31 - 1 a side": png(2**31 - 1, 2**31 - 1),
    "a PNG of zeros, 8,193 x 8,193": encoded("PNG", Image.new("1", (8193, 8193))),
    "a GIF of 65,535 x 65,535": resized("GIF", 65_535, 65_535),
    "a BMP of 2^31 - 1 x 9": resized("BMP", 2**31 - 1, 9),
    "a JPEG of 65,500 x 65,500": resized("JPEG", 65_500, 65_500),
    "a TIFF of 10^9 x 10^9": resized("TIFF", 10**9, 10**9),
    "a PNG of no width": png(0, 9, chunk(b"IDAT", zlib.compress(b"\x00" * 99))),
    "a PNG whose text is 100 MB": png(
        9, 9, chunk(b"zTXt", b"a\x00\x00" + zlib.compress(b"\x00" * 100_000_000)),
        chunk(b"IDAT", zlib.compress(b"\x00" * 300)),
    ),
    "a PNG whose colour profile is 100 MB": png(
        9, 9, chunk(b"iCCP", b"a\x00\x00" + zlib.compress(b"\x00" * 100_000_000)),
    ),
    "a PNG with a wrong check sum": encoded("PNG").replace(b"IDAT", b"IDAT\x00", 1),
    "a PNG without its picture": png(9, 9),
    "a PNG of an unknown colour type": png(9, 9, colour=5),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb(run_command, dataset, name):
    (dataset / "data" / "2.jpg").write_bytes(BOMBS[name])
    refused(run_command, dataset, "data/2.jpg: the image ")


@pytest.mark.parametrize("size", [(1 << 26) + 1, 1 << 36], ids=["64 MiB", "64 GiB"])
def test_an_enormous_image_file(run_command, dataset, size):
    """Sparse files: they take no room on the disk."""
    os.truncate(dataset / "data" / "2.jpg", size)
    refused(run_command, dataset, "the image is larger than 65536 KiB")


@pytest.mark.parametrize(
    "content",
    [
        encoded("PNG", Image.new("RGB", (100_000, 1))),
        encoded("PNG", Image.new("RGB", (1, 100_000))),
        encoded("PNG", Image.new("1", (8192, 8192))),
        encoded("PNG", Image.new("RGB", (1, 1))),
        encoded("JPEG") + b"PK\x03\x04" + b"\x00" * 400,
        encoded("PNG") + b"<?php system('id'); ?>",
        encoded("GIF").replace(b"GIF89a", b"GIF87a"),
        encoded("JPEG", comment=b"<script>alert(1)</script>"),
        encoded("PNG", icc_profile=b"no profile at all"),
        encoded("GIF", save_all=True, append_images=[PICTURE] * 200),
        encoded("TIFF", save_all=True, append_images=[PICTURE] * 50),
        encoded("WEBP", save_all=True, append_images=[PICTURE] * 20),
    ],
    ids=range(12),
)
def test_an_odd_image_that_is_an_image(run_command, dataset, content):
    (dataset / "data" / "2.jpg").write_bytes(content)
    accepted(run_command, dataset)


# Bundles


def spoil(dataset, change):
    model = small_model()
    changed = change(model) or model
    (dataset / "model.onnx").write_bytes(changed.SerializeToString())


def metadata(model, key, value):
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = value


INFO = json.loads(next(e.value for e in small_model().metadata_props if e.key == INFO_KEY))


def info(**changes):
    return json.dumps(INFO | changes)


@pytest.mark.parametrize(
    "value",
    [
        "", "{", "null", "[]", "3", '"text"', "{}", "[" * 100_000, '{"a":' * 50_000, "1" * 10_000,
        "NaN", '{"format": 1}', info(format=2), info(format="1"), info(format=None),
        info(labels=[]), info(labels=["a"]), info(labels=["a", "a", "b"]), info(labels="abc"),
        info(labels=None), info(labels=[1, 2, 3]), info(labels=["=1+1", "b", "c"]),
        info(labels=["a\nb", "b", "c"]), info(labels=["", "b", "c"]),
        info(labels=["x" * 99, "b", "c"]),
        info(labels=["\u001b[2J", "b", "c"]), info(labels={"a": 1}), info(labels=[["a"], "b", "c"]),
        info(labels=["a", "b"]), info(labels=["a", "b", "c", "d"]),
        info(text=None), info(text={}), info(text={"max_length": 0}), info(text={"max_length": -1}),
        info(text={"max_length": 10**9}), info(text={"max_length": "8"}),
        info(text={"max_length": True}), info(text={"max_length": 2.5}),
        info(image=None), info(image={}), info(image={"size": 10**9}), info(image={"size": 0}),
        info(image={"size": -8}), info(image={"size": "8"}), info(image={"size": [8]}),
        info(image={"size": SIZE, "resize": "evil"}), info(image={"size": SIZE, "filter": "evil"}),
        info(image={"size": SIZE, "filter": []}), info(image={"size": SIZE, "resize": {}}),
        info(image={"size": SIZE, "extra": 1}), info(image={"size": 16}), info(image=[8]),
    ],
    ids=range(52),
)  # fmt: skip
def test_a_bundles_description(run_command, dataset, value):
    spoil(dataset, lambda model: metadata(model, INFO_KEY, value))
    refused(run_command, dataset, "model.onnx")


TOKENIZER = json.loads(
    next(e.value for e in small_model().metadata_props if e.key == TOKENIZER_KEY)
)


def tokenizer(**changes):
    return json.dumps(TOKENIZER | changes)


@pytest.mark.parametrize(
    "value",
    [
        "", "{", "null", "[]", "{}", "3", "[" * 100_000, tokenizer(model=None), tokenizer(model={}),
        tokenizer(version="9"), tokenizer(model={"type": "Evil"}), tokenizer(added_tokens=3),
        tokenizer(model={"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}),
        tokenizer(model={"type": "WordLevel", "vocab": {"a": 2**40}, "unk_token": "a"}),
        tokenizer(model={"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}),
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed",
                                 "invert": False}),
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        tokenizer(truncation={"max_length": "8"}), tokenizer(post_processor={"type": "Evil"}),
        tokenizer(decoder=7),
    ],
    ids=range(20),
)  # fmt: skip
def test_a_bundles_tokenizer(run_command, dataset, value):
    spoil(dataset, lambda model: metadata(model, TOKENIZER_KEY, value))
    refused(run_command, dataset, f"the metadata {TOKENIZER_KEY} is malformed")


def external(tensor, location):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def external_weight(location):
    return lambda model: external(model.graph.initializer[0], location)


def external_constant(model):
    node = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    external(node.attribute[0].t, "/etc/passwd")
    model.graph.node.append(node)


def external_in_a_branch(model):
    node = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    external(node.attribute[0].t, "../secret")
    branch = helper.make_graph([node], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch))


def external_sparse(model):
    sparse = model.graph.sparse_initializer.add()
    external(sparse.values, "secret")


def operator(name, domain=""):
    def change(model):
        model.graph.node.append(helper.make_node(name, ["logits"], ["more"], domain=domain))
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def loop(name):
    def change(model):
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node(name, ["logits"], ["more"], body=body))

    return change


def function(model):
    model.functions.add().name = "f"


def training_info(model):
    model.training_info.add()


def no_graph(model):
    model.ClearField("graph")


def renamed_input(model):
    model.graph.input[0].name = "other"


def without(field):
    return lambda model: model.graph.ClearField(field)


def float_pixels(model):
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.FLOAT


def larger_pixels(model):
    model.graph.input[2].type.tensor_type.shape.dim[1].dim_value = 9


def deep(model):
    graph = helper.make_graph([helper.make_node("Identity", ["location"], ["b"])], "g", [], [])
    for _ in range(25):
        graph = helper.make_graph(
            [helper.make_node("If", ["x"], ["y"], then_branch=graph)], "g", [], []
        )
    model.graph.node.append(graph.node[0])


def no_numbers(model):
    weight = np.full((2, 3), np.nan, np.float32)
    model.graph.initializer[0].raw_data = weight.tobytes()


def too_small_weight(model):
    model.graph.initializer[0].raw_data = b"\x00"


def one_answer_for_all(model):
    model.graph.node[-1].input[0] = "mean"
    model.graph.node.insert(
        len(model.graph.node) - 1,
        helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1),
    )


def unknown_opset(model):
    model.opset_import[0].version = 9999


def unknown_ir(model):
    model.ir_version = 9999


def much_metadata(model):
    entry = model.metadata_props.add()
    entry.key, entry.value = "a", "x" * (1 << 26)


def million_fields(model):
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.doc_string = ""
    data = model.SerializeToString()
    return type("Raw", (), {"SerializeToString": lambda self: data + b"\x08\x08" * 1_000_001})()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((external_weight(location), "tensors in other files") for location in
          ("/etc/passwd", "../secret", "secret", "data/1.jpg", "", "C:\\secret", "//host/share")),
        (external_constant, "tensors in other files"),
        (external_in_a_branch, "tensors in other files"),
        (external_sparse, "tensors in other files"),
        (loop("Loop"), "the operator Loop"),
        (loop("Scan"), "the operator Scan"),
        (function, "a part that no bundle has"),
        (training_info, "a part that no bundle has"),
        (operator("Evil"), "can't be opened as an ONNX model"),
        (operator("Evil", "com.evil"), "can't be opened as an ONNX model"),
        (operator("PyOp", "pyopmulti"), "can't be opened as an ONNX model"),
        (operator("Gelu", "com.other"), "can't be opened as an ONNX model"),
        (no_graph, "model.onnx"),
        (renamed_input, "model.onnx"),
        (without("input"), "model.onnx"),
        (without("output"), "model.onnx"),
        (without("node"), "model.onnx"),
        (without("initializer"), "model.onnx"),
        (float_pixels, "model.onnx"),
        (larger_pixels, "are not those of a bundle"),
        (deep, "nested too deep"),
        (no_numbers, "NaN"),
        (too_small_weight, "model.onnx"),
        (one_answer_for_all, "the bundle's graph"),
        (unknown_opset, "can't be opened as an ONNX model"),
        (unknown_ir, "can't be opened as an ONNX model"),
        (much_metadata, "bytes of metadata"),
        (million_fields, "more than 1000000 parts"),
    ],
    ids=range(34),
)  # fmt: skip
def test_a_bundles_graph(run_command, dataset, change, message):
    (dataset / "secret").write_bytes(np.ones((2, 3), np.float32).tobytes())
    spoil(dataset, change)
    refused(run_command, dataset, message)


@pytest.mark.parametrize("share", np.linspace(0, 0.99, 24).round(2))
def test_a_truncated_bundle(run_command, dataset, share):
    data = (dataset / "model.onnx").read_bytes()
    (dataset / "model.onnx").write_bytes(data[: int(len(data) * share)])
    refused(run_command, dataset, "model.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95(cos\nsystem\n(S'id'\ntR.", b"PK\x03\x04", b"\x08\x07" * 999, b"{}", b"ORTM",
        b"\x18\x00\x00\x00ORTM" + b"\x00" * 64, b"\xff" * 999, b"\x00" * 999,
        b"\x3a\xff\xff\xff\xff\x0f", b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b" * 99,
        b"\x80" * 99, b"<html>", b"7\n",
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_bundle(run_command, dataset, content):
    (dataset / "model.onnx").write_bytes(content)
    refused(run_command, dataset, "model.onnx")


@pytest.mark.parametrize("size", [1 << 31, 1 << 36], ids=["2 GiB", "64 GiB"])
def test_an_enormous_bundle(run_command, dataset, size):
    """Sparse files: they take no room on the disk."""
    os.truncate(dataset / "model.onnx", size)
    refused(run_command, dataset, "larger than 2 GiB")


# Runs


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A run whose checkpoint is small enough to copy for every case. Not to be changed."""
    return shutil.copytree(trained, tmp_path_factory.mktemp("run") / "run")


def export(run_command, run):
    output = run.parent / "out.onnx"
    result = run_command("mmsent-export", "onnx", run, "--output", output, cwd=run.parent)
    assert "Traceback" not in result.err
    assert result.code in (1, 2), result.err
    assert not output.exists()
    assert run.name in result.err
    return result


@pytest.fixture
def spoiled_run(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():  # hard links: a case replaces the file that it spoils
        os.link(path, copy / path.name)
    return copy


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["run.json", "tokenizer.json", "checkpoint.safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b"\x80\x04\x95(cos\nsystem\n.",
     b"\xff" * 8 + b"{}", struct.pack("<Q", 1 << 62) + b"{}", b"PK\x03\x04"],
    ids=range(11),
)  # fmt: skip
def test_a_file_of_a_run(run_command, spoiled_run, name, content):
    replace(spoiled_run / name, content)
    export(run_command, spoiled_run)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 9}, {"format": None}, {"model": None}, {"model": {}},
        {"model": {"name": "evil"}}, {"model": {"name": "light"}},
        {"model": {"name": "light", "vocabulary": 10**12}},
        {"model": {"name": "light", "vocabulary": -1}},
        {"model": {"name": "light", "vocabulary": "x"}},
        {"model": {"name": "light", "vocabulary": 9, "labels": 10**9}},
        {"model": {"name": "light", "vocabulary": 9, "evil": 1}}, {"model": {"name": ["light"]}},
        {"model": "light"}, {"image": None}, {"image": {"size": 10**9}}, {"image": []},
        {"settings": None}, {"settings": []}, {"settings": "x"},
    ],
    ids=range(19),
)  # fmt: skip
def test_a_runs_record(run_command, spoiled_run, changes):
    record = json.loads((spoiled_run / "run.json").read_text())
    replace(spoiled_run / "run.json", json.dumps(record | changes).encode())
    export(run_command, spoiled_run)


@pytest.mark.parametrize("change", ["one less", "another shape", "other type", "all gone"])
def test_a_runs_checkpoint(run_command, spoiled_run, change):
    path = spoiled_run / "checkpoint.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    if change == "one less":
        del weights[name]
    elif change == "another shape":
        weights[name] = np.zeros(7, np.float32)
    elif change == "other type":
        weights[name] = weights[name][..., :0]
    else:
        weights = {"a": np.zeros(1, np.float32)}
    path.unlink()
    save_file(weights, path)
    export(run_command, spoiled_run)


# Folders that can't be written


@pytest.fixture
def read_only(tmp_path):
    """A folder of which nothing can be made, even by root: its path goes through a file."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


def test_an_inference_into_it(run_command, dataset, read_only):
    result = run_command(
        "mmsent-infer", dataset / "list.csv", "--model", dataset / "model.onnx",
        "--output", read_only / "out.csv", cwd=dataset,
    )  # fmt: skip
    assert result.code in (1, 2)
    assert str(read_only) in result.err
    assert len(result.err.splitlines()) == 1


def test_an_export_into_it(run_command, trained, read_only):
    result = run_command(
        "mmsent-export", "onnx", trained, "--output", read_only / "model.onnx", cwd=trained.parent
    )
    assert result.code in (1, 2)
    assert str(read_only) in result.err


def test_a_training_into_it(run_command, sample, read_only):
    result = run_command(
        "mmsent", "train", "--model", "light", "--data", sample, "--output", read_only,
        cwd=sample.parent,
    )  # fmt: skip
    assert result.code in (1, 2)
    assert str(read_only.parent) in result.err


def test_sample_data_into_it(run_command, read_only):
    result = run_command("mmsent", "sample-data", read_only, cwd=read_only.parent.parent)
    assert result.code in (1, 2)
    assert str(read_only.parent) in result.err

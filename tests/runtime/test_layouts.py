"""Every layout gives the same pairs, and every command reads every layout."""

import csv
import io
import json
import logging
import os
import shutil
import string
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsent.data import mvsa
from mmsent.data.dataset import Reading, open_dataset
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError
from mmsent.inputs.image import IMAGE_SUFFIXES
from tests.layouts import LABELS, LAYOUTS, drawn, imagefolder, read, task_folder, write_rows
from tests.small_bundle import write_small_bundle


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("drawn") / "sample", ("cat", "dog"), pairs=24)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "small.onnx")


def predicted(path):
    with open(path, newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_the_same_pairs_as_the_tasks_folder(tmp_path, layout, labels):
    wanted = drawn(tmp_path / "sample", LABELS[labels])
    folder = read(task_folder(tmp_path / "task", wanted))
    found = read(LAYOUTS[layout](tmp_path / "other", wanted))
    assert [row[1:4] for row in found] == [row[1:4] for row in folder] == [r[1:4] for r in wanted]
    assert [Path(row.guid).stem for row in found] == [row.guid for row in folder]


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30).map(
    lambda drawn: drawn.removeprefix("\ufeff").strip()
)
label = st.text(string.ascii_letters + "非仇恨 ,;'\"", min_size=1, max_size=9).map(str.strip)
listed = st.lists(st.tuples(text, label.filter(lambda drawn: drawn not in ("", "null"))))


def rows_of(path, content):
    path.write_text(content, encoding="utf-8", newline="")
    return [(row.guid, row.text, row.label) for row in read(path)]


@given(listed)
def test_files_of_the_csv_module_are_read(tmp_path_factory, rows):
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label"), *rows])
    wanted = [(str(n), text, label) for n, (text, label) in enumerate(rows, 1)]
    assert rows_of(tmp_path_factory.getbasetemp() / "drawn.csv", file.getvalue()) == wanted


@given(listed, st.booleans())
def test_files_of_the_json_module_are_read(tmp_path_factory, rows, ascii):
    lines = [
        json.dumps({"text": text, "label": label}, ensure_ascii=ascii) + "\n"
        for text, label in [("first", "first"), *rows]
    ]
    wanted = [(str(n), text, label) for n, (text, label) in enumerate(rows, 2)]
    found = rows_of(tmp_path_factory.getbasetemp() / "drawn.jsonl", "".join(lines))
    assert found == [("1", "first", "first"), *wanted]


def write_list(path, columns):
    """Write columns as CSV, JSON Lines or Parquet."""
    return write_rows(path, [dict(zip(columns, row)) for row in zip(*columns.values())])


FORMATS = ("list.csv", "list.jsonl", "list.parquet")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([0, 1, None], ["0", "1", None]),
        ([0.0, -2.0, None], ["0", "-2", None]),
        ([0.5, 12.25], ["0.5", "12.25"]),
        ([" a ", "非仇恨", "null"], ["a", "非仇恨", None]),
        (["1.0", "01", "True"], ["1", "01", "True"]),
    ],
)
def test_labels_are_the_same_in_every_format(tmp_path, name, cells, labels):
    path = write_list(tmp_path / name, {"text": ["a"] * len(cells), "label": cells})
    assert [row.label for row in read(path)] == labels


@pytest.mark.parametrize(
    ("name", "labels"), [*zip(FORMATS, [["True", "False"], ["true", "false"], ["true", "false"]])]
)
def test_booleans_are_labels_as_written(tmp_path, name, labels):
    path = write_list(tmp_path / name, {"text": ["a", "b"], "label": [True, False]})
    assert [row.label for row in read(path)] == labels


@pytest.mark.parametrize("name", ["list.jsonl", "list.parquet"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_not_labels(tmp_path, name, value):
    path = write_list(tmp_path / name, {"text": ["a", "b"], "label": [value, 1.0]})
    assert [row.label for row in read(path)] == [None, "1"]


@pytest.mark.parametrize("name", FORMATS)
def test_several_labels_in_a_cell_are_refused_if_labels_are_needed(tmp_path, name):
    path = write_list(tmp_path / name, {"text": ["a", "b"], "labels": [["x", "y"], ["x"]]})
    dataset = open_dataset(path)
    with pytest.raises(InputError, match="several labels; mmsent supports one label per pair"):
        TrainingSource(path).read(["text"])
    assert [row.text for row in dataset.rows()] == [b"a", b"b"]


def columns_of(path, names):
    return write_list(path, {name: ["1", "2"] for name in names})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        (["caption", "tweet", "label"], {}, "caption, tweet could each be the text.*text=caption$"),
        (["text", "img", "photo"], {}, "could each be the image.*--columns image=img$"),
        (["text", "label", "emotion"], {}, "could each be the label.*--columns label=label$"),
        (["text", "feeling"], {}, "has no column for the label.*--columns label=feeling$"),
        (["text", "Feelings"], {"label": "feeling"}, "no column 'feeling'.*label=Feelings$"),
        (["body", "x", "mood"], {"text": "tweet"}, "no column 'tweet'; it has body, x, mood"),
    ],
)
def test_an_error_shows_the_complete_option(tmp_path, name, names, columns, message):
    path = columns_of(tmp_path / name, names)
    with pytest.raises(InputError, match=message):
        list(open_dataset(path, Reading(columns=columns)).rows(labelled=True))


@pytest.mark.parametrize("name", FORMATS)
def test_ambiguous_label_columns_matter_only_if_labels_are_needed(tmp_path, name):
    path = columns_of(tmp_path / name, ["text", "label", "emotion"])
    assert [row.label for row in read(path)] == [None, None]


@pytest.mark.parametrize("name", FORMATS)
def test_columns_can_be_named_by_options(tmp_path, name):
    path = write_list(tmp_path / name, {"a": ["x"], "text": ["y"], "label": ["1"], "b": ["2"]})
    (row,) = open_dataset(path, Reading(columns={"text": "a", "label": "b"})).rows(labelled=True)
    assert (row.text, row.label, row.guid) == (b"x", "2", "1")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image " + name.encode())


IMAGES = {
    "a folder per label in each split": (
        ["train/dog/2.png", "train/dog/10.png", "train/cat/1.JPEG", "test/cat/1.png"],
        [("cat/1.JPEG", "cat", "train"), ("dog/10.png", "dog", "train"),
         ("dog/2.png", "dog", "train"), ("cat/1.png", "cat", "test")],
    ),
    "a folder per label at the top": (
        ["dog/1.png", "cat/1.png"],
        [("cat/1.png", "cat", None), ("dog/1.png", "dog", None)],
    ),
    "splits of other names": (
        ["val/a/1.jpg", "Train/a/1.jpg", "testing/1.jpg", "other/b/1.jpg"],
        [("a/1.jpg", "a", "train"), ("a/1.jpg", "a", "validation"), ("1.jpg", None, "test")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("cluttered", [False, True])
@pytest.mark.parametrize("name", IMAGES)
def test_only_images(tmp_path, name, cluttered):
    names, wanted = IMAGES[name]
    touch(tmp_path, *names)
    if cluttered:
        places = {Path(name).parent.as_posix() for name in names}
        for place in places | {"."}:
            touch(
                tmp_path, f"{place}/.DS_Store", f"{place}/Thumbs.db", f"{place}/._1.png",
                f"{place}/.hidden/1.png", f"{place}/__MACOSX/1.png", f"{place}/README.md",
            )  # fmt: skip
    assert [(row.guid, row.label, row.split) for row in read(tmp_path)] == wanted
    assert all(row.text is None and row.image.startswith(b"image ") for row in read(tmp_path))


METADATA = {
    "in the splits": (
        {"train/metadata.csv": ["1.png", "deep/er/2.png"], "valid/metadata.jsonl": ["1.png"]},
        [("1.png", "train"), ("deep/er/2.png", "train"), ("1.png", "validation")],
    ),
    "next to the splits": (
        {"metadata.jsonl": ["test/1.png", "train/1.png"]},
        [("test/1.png", "test"), ("train/1.png", "train")],
    ),
    "without splits": (
        {"metadata.parquet": ["images/2.png", "1.png"]},
        [("images/2.png", None), ("1.png", None)],
    ),
    "written in capitals": ({"metadata.CSV": ["1.PNG"]}, [("1.PNG", None)]),
}


@pytest.mark.parametrize("name", METADATA)
def test_images_with_metadata(tmp_path, name):
    lists, wanted = METADATA[name]
    for path, names in lists.items():
        folder = (tmp_path / path).parent
        touch(folder, *names)
        touch(tmp_path, "notes/1.png", "more/1.png")
        columns = {"file_name": names, "text": [f"of {n}" for n in names]}
        columns["label"] = ["x"] * len(names)
        write_list(tmp_path / path.lower(), columns).rename(tmp_path / path)
    found = read(tmp_path)
    assert [(row.guid, row.split) for row in found] == wanted
    for row in found:
        assert (row.text, row.label) == (f"of {row.guid}", "x")
        assert row.image == b"image " + row.guid.encode()


def test_one_split_may_have_metadata_and_another_only_images(tmp_path):
    touch(tmp_path, "train/1.png", "test/1.png")
    write_list(tmp_path / "train/metadata.csv", {"file_name": ["1.png"], "label": ["x"]})
    rows = read(tmp_path)
    assert [(row.guid, row.label, row.split) for row in rows] == [
        ("1.png", "x", "train"), ("1.png", None, "test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["metadata.csv", "train/metadata.csv"], "at the top and in a split's folder"),
        (
            ["train/metadata.csv", "train/metadata.jsonl"],
            "contains metadata.csv and",
        ),
    ],
)
def test_metadata_in_two_places_is_refused(tmp_path, lists, message):
    touch(tmp_path, "train/1.png")
    for name in lists:
        write_list(tmp_path / name, {"file_name": ["1.png"], "label": ["x"]})
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize("columns", [{"text": ["a"]}, {"image": ["1.png"]}])
def test_metadata_needs_a_file_name(tmp_path, columns):
    write_list(tmp_path / "metadata.csv", columns)
    with pytest.raises(InputError, match=r"metadata\.csv has no column 'file_name'"):
        open_dataset(tmp_path)


def test_images_deeper_than_a_folder_per_label_are_refused(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/a/b/2.png", "train/c/3.png")
    pair, problem, other = open_dataset(tmp_path).rows(labelled=True)
    assert (pair.guid, other.guid) == ("a/1.png", "c/3.png")
    assert str(problem) == (
        "train/ image 2: a/b/: images must be directly in the folder of their label"
    )


def test_an_unknown_folder_gets_a_list_of_the_layouts(tmp_path):
    touch(tmp_path, "notes.txt", "pictures/1.png")
    with pytest.raises(InputError) as error:
        open_dataset(tmp_path)
    for name in ("train.txt", "labelResultAll.txt", "metadata.csv", "imagefolder"):
        assert name in str(error.value)
    touch(tmp_path, "a.csv", "more/2.png")
    write_list(tmp_path / "b.jsonl", {"text": ["a"]})
    with pytest.raises(InputError, match=r"Name one of its lists: a\.csv, b\.jsonl"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("images", [["train/1.png", "test/2.png"], ["images/1.png", "masks/1.png"]])
def test_images_of_a_list_next_to_them_are_not_an_imagefolder(tmp_path, images):
    touch(tmp_path, *images)
    write_list(tmp_path / "train.csv", {"image": images[:1], "label": ["x"]})
    with pytest.raises(InputError, match=r"Name one of its lists: train\.csv"):
        open_dataset(tmp_path)
    assert [row.label for row in read(tmp_path / "train.csv")] == ["x"]


NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"


@pytest.mark.parametrize(
    ("annotations", "label"),
    [
        (["positive,positive"], POSITIVE),
        (["neutral,neutral"], NEUTRAL),
        (["neutral,negative"], NEGATIVE),
        (["positive,neutral"], POSITIVE),
        (["positive,negative"], None),
        (["negative,positive"], None),
        (["positive,neutral", "positive,neutral", "negative,negative"], POSITIVE),
        (["neutral,negative", "neutral,positive", "positive,negative"], NEGATIVE),
        (["positive,positive", "positive,neutral", "positive,negative"], None),
        (["positive,neutral", "negative,neutral", "neutral,neutral"], None),
        (["positive,negative", "positive,negative", "positive,positive"], None),
    ],
)
def test_the_rule_that_combines_mvsas_labels(annotations, label):
    assert mvsa.merge(annotations)[1] == label


@pytest.mark.parametrize("annotators", [1, 3], ids=["Single", "Multiple"])
def test_mvsas_folder(tmp_path, rows, annotators, caplog):
    labels = [("positive", "positive"), ("neutral", "negative"), ("negative", "positive")] * 8
    task_folder(tmp_path / "MVSA", rows)
    (tmp_path / "MVSA" / "train.txt").unlink()
    lines = ["ID" + "\ttext,image" * annotators]
    lines += [
        f"{row.guid}\t" + "\t".join([f"{text},{image}"] * annotators)
        for row, (text, image) in zip(rows, labels)
    ]
    (tmp_path / "MVSA" / mvsa.LIST).write_bytes("\r\n".join(lines).encode())
    caplog.set_level(logging.INFO, "mmsent")
    dataset = open_dataset(tmp_path / "MVSA")
    assert dataset.layout == "MVSA's folder"
    for count, case in ((8, mvsa.AGREED), (8, mvsa.NEUTRAL), (8, mvsa.OPPOSITE), (0, mvsa.DIVIDED)):
        assert f"{count} pairs ({case})" in caplog.text
    wanted = [
        row._replace(label=POSITIVE if text == POSITIVE else NEGATIVE)
        for row, (text, image) in zip(rows, labels)
        if (text, image) != ("negative", "positive")
    ]
    assert read(tmp_path / "MVSA") == read(tmp_path / "MVSA" / mvsa.LIST) == wanted
    assert [row.guid for row in dataset.rows(start=3)] == [row.guid for row in wanted[3:]]


@pytest.mark.parametrize("line", ["3", "3\tpositive", "3\tpositive,happy", "3\ta,b,c", "\t"])
def test_a_malformed_line_of_mvsa_is_reported(tmp_path, line):
    path = tmp_path / mvsa.LIST
    path.write_text(f"ID\ttext,image\n1\tpositive,positive\n{line}\n4\tneutral,neutral\n")
    one, *problems, other = open_dataset(path).rows(labelled=True)
    assert (one.guid, other.guid) == ("1", "4")
    assert [str(problem).split(": ")[0] for problem in problems] == (
        [f"{mvsa.LIST} line 3"] if line.strip() else []
    )


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".Png"])
def test_an_image_of_the_tasks_folder_may_have_any_suffix(tmp_path, suffix):
    touch(tmp_path, "data/1.txt", f"data/1{suffix}", "data/2.txt", "data/2.jpg")
    (tmp_path / "train.txt").write_text("guid,tag\n1,a\n2,b\n")
    pairs = list(open_dataset(tmp_path).rows(labelled=True))
    assert [problem for pair in pairs for problem in pair.check()] == []
    assert pairs[0].read("image") == f"image data/1{suffix}".encode()
    assert pairs[0].image.name == f"1{suffix}"


@pytest.mark.parametrize("other", [".png", ".JPG", ".jpeg"])
def test_two_images_for_one_guid_are_refused(tmp_path, other):
    touch(tmp_path, "data/1.txt", "data/1.jpg", f"data/1{other}", "data/2.txt", f"data/2{other}")
    if len(os.listdir(tmp_path / "data")) < 5:
        pytest.skip("file names have no case here")
    (tmp_path / "train.txt").write_text("guid,tag\n1,a\n2,b\n")
    first, second = open_dataset(tmp_path).rows()
    (problem,) = first.check()
    assert f"the image exists more than once (1.jpg, 1{other})" in str(problem)
    with pytest.raises(InputError, match="more than once"):
        first.read("image")
    assert second.check() == []


@pytest.mark.parametrize("allowed", [False, True])
def test_a_missing_image_is_an_error_unless_allowed(tmp_path, allowed):
    touch(tmp_path, "data/1.txt", "data/2.png")
    (tmp_path / "list.csv").write_text("guid\n1\n2\n")
    (tmp_path / "named.csv").write_text("text,image\na,data/1.png\nb,data/2.png\n")
    for name in ("list.csv", "named.csv"):
        first, second = open_dataset(tmp_path / name, Reading(allow_missing=allowed)).rows()
        assert first.lacks("image") is allowed
        assert bool(first.check(["image"])) is True
        assert not second.lacks("image")
        assert second.check(["image"]) == []


@pytest.mark.parametrize("name", FORMATS)
def test_paths_of_images(tmp_path, name):
    r"""Relative or absolute, in any folder below the list's; a path that leads outside is refused.

    Lists from Windows separate folders by \.
    """
    folder = tmp_path / "pictures"
    touch(folder, "1.png", "a/b/2.png")
    touch(tmp_path, "outside/3.png")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "linked.png").symlink_to("a/b/2.png")
    inside = [
        "1.png", "a/b/2.png", f"{folder}/a/b/2.png", "a/../1.png", "linked.png", r"a\b\2.png",
        r"a\..\1.png",
    ]  # fmt: skip
    outside = [
        r"..\outside\3.png", r"link\3.png", r"a\..\..\outside\3.png",
        "../outside/3.png", f"{tmp_path}/outside/3.png", "link/3.png", f"{folder}/link/3.png",
        f"{folder}/../outside/3.png", "/etc/passwd", "a/b/../../../outside/3.png",
    ]  # fmt: skip
    path = write_list(tmp_path / name, {"image": inside + outside})
    pairs = list(open_dataset(path, Reading(images=folder)).rows())
    for pair in pairs[: len(inside)]:
        assert pair.check(["image"]) == []
        assert not pair.is_absent("image")
        assert pair.read("image").startswith(b"image ")
    for pair in pairs[len(inside) :]:
        (problem,) = pair.check(["image"])
        assert "leads out of the dataset folder" in str(problem)
        with pytest.raises(InputError, match="leads out"):
            pair.read("image")


@pytest.mark.skipif(os.sep == "\\", reason="a file's name can hold no backslash here")
def test_a_file_may_have_a_backslash_in_its_name(tmp_path):
    touch(tmp_path, r"a\1.png")
    path = write_list(tmp_path / "list.csv", {"image": [r"a\1.png", r"C:\a\1.png"]})
    here, elsewhere = open_dataset(path).rows()
    assert here.read("image").startswith(b"image ")
    assert "does not exist" in str(elsewhere.check(["image"])[0])


@pytest.mark.parametrize(
    ("name", "fix"),
    [("a.json", "one object per line"), ("a.XLSX", "Save it as CSV"), ("a.csv.gz", "Unpack it"),
     ("a.zip", "Unpack it")],
)  # fmt: skip
def test_a_file_that_is_not_a_list_gets_a_fix(run_command, tmp_path, name, fix):
    (tmp_path / name).write_bytes(b"PK\x03\x04 whatever \xff")
    result = run_command("mmsent", "check-data", "--data", name, cwd=tmp_path)
    assert result.code == 2
    message, what_to_do = result.err.splitlines()
    for part in (name, ".csv", ".jsonl", ".parquet", "docs/data.md"):
        assert part in message
    assert fix in what_to_do


def test_a_class_label_is_read_as_its_name(tmp_path):
    metadata = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, tmp_path / "list.parquet")
    assert [row.label for row in read(tmp_path / "list.parquet")] == ["pos", "neg", None, None]


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.date32(), pa.struct([("a", pa.int8())])])
def test_a_label_that_is_not_needed_is_not_checked(tmp_path, kind):
    table = pa.table({"text": ["a"], "tag": pa.nulls(1, kind)})
    pq.write_table(table, tmp_path / "list.parquet")
    dataset = open_dataset(tmp_path / "list.parquet")
    assert [row.text for row in dataset.rows()] == [b"a"]
    with pytest.raises(InputError, match="the column tag"):
        list(dataset.rows(labelled=True))


def all_layouts(folder, rows):
    """A dataset in every layout, also with missing parts and with splits."""
    written = {name: write(folder / name, rows) for name, write in LAYOUTS.items()}
    written["the task's folder"] = task_folder(folder / "task", rows)
    touch(folder, "images/train/a/1.png", "images/train/b/1.png", "images/test/c.png")
    written["images alone"] = folder / "images"
    columns = {
        "text": ["a", None, "c"],
        "label": ["x", "y", None],
        "split": ["train", "dev", "test"],
    }
    written["texts alone"] = write_list(folder / "texts.jsonl", columns)
    return written


@pytest.mark.parametrize("name", [*LAYOUTS, "the task's folder", "images alone", "texts alone"])
def test_packing_keeps_the_rows(run_command, tmp_path, rows, name):
    path = all_layouts(tmp_path, rows)[name]
    result = run_command("mmsent", "pack", path, "out.parquet", cwd=tmp_path)
    assert result.code == 0, result.err
    assert read(tmp_path / "out.parquet") == read(path) != []
    names = [
        cell and cell["path"]
        for cell in pq.read_table(tmp_path / "out.parquet")["image"].to_pylist()
    ]
    if name in ("CSV", "the task's folder", "imagefolder"):
        assert names == [row.image_name for row in rows]
    elif name == "texts alone":
        assert names == [None] * 3


@pytest.mark.parametrize("name", [*LAYOUTS, "the task's folder"])
def test_every_layout_is_predicted(run_command, tmp_path, rows, small, name):
    path = all_layouts(tmp_path, rows)[name]
    wanted = task_folder(tmp_path / "wanted", rows)
    for source, output in ((path, "out.csv"), (wanted, "wanted.csv")):
        result = run_command(
            "mmsent-infer", source, "--model", small, "--output", output, "--probabilities",
            cwd=tmp_path,
        )  # fmt: skip
        assert result.code == 0, result.err
    found, same = predicted(tmp_path / "out.csv"), predicted(tmp_path / "wanted.csv")
    assert [row[1:] for row in found] == [row[1:] for row in same]
    assert found[0][:2] == ("guid", "tag")
    assert [guid for guid, *_ in found[1:]] == [row.guid for row in read(path)]


def split_column(folder, rows):
    """A list without guids but with a split column."""
    names = ["train", "test", "dev", "test"]
    touch(folder, "unused")
    for row in rows[:4]:
        (folder / row.image_name).write_bytes(row.image)
    columns = {
        "text": [row.text for row in rows[:4]], "image": [row.image_name for row in rows[:4]],
        "split": names,
    }  # fmt: skip
    return write_list(folder / "list.csv", columns), {
        "train": ["1"], "validation": ["3"], "test": ["2", "4"],
    }  # fmt: skip


def split_folders(folder, rows):
    parts = {"train": rows[:2], "val": rows[2:3], "test": rows[3:6]}
    for name, some in parts.items():
        imagefolder(folder / name, some)
        shutil.move(folder / name / "train", folder / "part")
        (folder / name).rmdir()
        (folder / "part").rename(folder / name)
    names = {name: [row.image_name for row in some] for name, some in parts.items()}
    return folder, {"train": names["train"], "validation": names["val"], "test": names["test"]}


def task_with_test(folder, rows):
    task_folder(folder, rows)
    (folder / "train.txt").write_text(f"guid,tag\n{rows[0].guid},a\n")
    (folder / "test_without_label.txt").write_text(f"guid,tag\n{rows[1].guid},null\n")
    return folder, {"train": [rows[0].guid], "test": [rows[1].guid]}


@pytest.mark.parametrize("write", [split_column, split_folders, task_with_test])
def test_the_test_split_is_predicted_by_default(run_command, tmp_path, rows, small, write):
    path, parts = write(tmp_path / "data", rows)

    def guids(*options):
        result = run_command(
            "mmsent-infer", path, "--model", small, "--output", "out.csv", *options, cwd=tmp_path
        )
        assert result.code == 0, result.err
        return [guid for guid, _ in predicted(tmp_path / "out.csv")[1:]]

    assert guids() == guids("--split", "test") == parts["test"]
    for split, wanted in parts.items():
        assert guids("--split", split) == wanted
    assert sorted(guids("--split", "all")) == sorted(chain(*parts.values()))
    if "validation" not in parts:
        result = run_command(
            "mmsent-infer", path, "--model", small, "--split", "validation", cwd=tmp_path
        )
        assert result.code == 2
        assert "no rows of the split validation" in result.err


def test_without_a_test_split_everything_is_predicted(run_command, tmp_path, rows, small):
    path = imagefolder(tmp_path / "data", rows[:3])
    result = run_command("mmsent-infer", path, "--model", small, cwd=tmp_path)
    assert result.code == 0, result.err
    found = predicted(tmp_path / "submission.csv")[1:]
    assert [guid for guid, _ in found] == [row.image_name for row in rows[:3]]


def test_reading_can_start_at_any_row(tmp_path, rows):
    """Resuming starts in the middle of one list, of several, or of one split of a list."""
    for path in all_layouts(tmp_path, rows).values():
        whole = [pair.guid for pair in open_dataset(path).rows()]
        for start in (0, 1, 2, len(whole)):
            assert [pair.guid for pair in open_dataset(path).rows(start=start)] == whole[start:]
        assert [pair.guid for pair in open_dataset(path).rows(contents=False)] == whole
    dataset = open_dataset(split_column(tmp_path / "splits", rows)[0]).select(("test",))
    assert [pair.guid for pair in dataset.rows(start=1)] == ["4"]

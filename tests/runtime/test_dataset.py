import csv
import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsent.data.dataset import mark_duplicates, open_dataset, read_pairs
from mmsent.data.folder import image_file, text_file
from mmsent.data.labels import SENTIMENTS, label_fault, order_labels
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError, Problem

NUL = pytest.mark.skipif(sys.version_info < (3, 11), reason="the csv module refuses a NUL")


def read(path, content: bytes, **options):
    path.write_bytes(content)
    rows = list(open_dataset(path).rows(**options))
    problems = [row for row in rows if isinstance(row, Problem)]
    return [(row.guid, row.label) for row in rows if row not in problems], problems


@pytest.mark.parametrize(
    "content",
    [
        b"guid,tag\n0012,positive\n8,null\n",
        b"\xef\xbb\xbfguid,tag\r\n0012,positive\r\n8,null\r\n",
        b" GUID , Tag \n 0012 , positive \n\n8,\n",
        b'"guid","tag"\n"0012", "positive"\n"8","null"',
        b"tag,guid\npositive,0012\nnull,8\n",
    ],
    ids=["plain", "mark and CRLF", "spaces and blank lines", "quotes", "other order"],
)
def test_one_list_written_in_many_ways(tmp_path, content):
    assert read(tmp_path / "list.csv", content) == ([("0012", "positive"), ("8", None)], [])


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)))
def test_files_of_the_csv_module_are_read(tmp_path_factory, guids):
    file = io.StringIO()
    csv.writer(file).writerows([("guid", "tag"), *((guid, "null") for guid in guids)])
    path = tmp_path_factory.mktemp("list") / "list.csv"
    assert read(path, file.getvalue().encode()) == ([(guid, None) for guid in guids], [])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("8.0,positive", "floating-point numbers; write 8"),
        (",positive", "the guid is missing"),
        ("../../etc/passwd,positive", "can't contain slashes"),
        pytest.param("a\x00b,positive", "can't contain slashes", marks=NUL),
        ("8,=1+1", "would evaluate the label '=1+1' as a formula"),
        ("8,null", "the label is missing"),
        ("8,positive,really", "3 fields, but the header has 2"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_are_read(tmp_path, row, message):
    content = f"guid,tag\n1,positive\n{row}\n2,negative\n".encode()
    rows, (problem,) = read(tmp_path / "list.csv", content, labelled=True)
    assert [guid for guid, _ in rows] == ["1", "2"]
    assert problem.line == 3
    assert message in str(problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,positive\n", "must name the columns guid,tag"),
        (b"", "must name the columns guid,tag"),
        (b"guid,text\n1,fine\n", "has no column for the label"),
        (b"caption,tweet,label\n", "--columns text=caption"),
        (b"text,label,text\n", "two columns named 'text'"),
        (b"guid,tag\n\xa1\xb0,positive\n", "is not UTF-8"),
        (b'guid,tag\n"1,positive\n', "not a CSV file"),
        (b"guid,tag\n" + b"1" * 200_000, "line 2: a cell is longer than"),
    ],
)
def test_a_file_that_is_not_a_list_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "list.csv", content, labelled=True)


def test_a_list_to_predict_needs_no_labels(tmp_path):
    assert read(tmp_path / "list.csv", b"guid\n7\n") == ([("7", None)], [])


def test_duplicate_guids_are_reported_with_both_lines(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("guid,tag\n1,null\n2,null\n1,null\n")
    *pairs, problem = mark_duplicates(open_dataset(path).rows())
    assert [pair.guid for pair in pairs] == ["1", "2"]
    assert (problem.line, problem.guid) == (4, "1")
    assert "already on line 2" in problem.message


def test_every_missing_or_undecodable_file_is_reported(tmp_path):
    (tmp_path / "data").mkdir()
    for guid, text, image in (("1", b"fine", True), ("2", b"caf\xe9", False), ("3", None, True)):
        if text is not None:
            (tmp_path / "data" / f"{guid}.txt").write_bytes(text)
        if image:
            (tmp_path / "data" / f"{guid}.jpg").touch()
    path = tmp_path / "list.csv"
    path.write_text("guid,tag\n1,positive\n2,positive\n3,positive\n")
    _, problems = read_pairs(open_dataset(path))
    assert len(problems) == 3
    said = "\n".join(map(str, problems))
    for guid, place, reason in (
        ("2", text_file, "is neither UTF-8 nor GB18030"),
        ("2", image_file, "does not exist"),
        ("3", text_file, "does not exist"),
    ):
        file = place(tmp_path, guid)
        assert re.search(rf"guid '{guid}'\): {re.escape(file)}: the \w+ {reason}", said)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("happy", "unknown label 'happy'; it must be one of negative, neutral, positive"),
        ("Positive", "unknown label 'Positive'; did you mean 'positive'?"),
        ("posi tive", "unknown label 'posi tive'; did you mean 'positive'?"),
        ("ｐositive", "unknown label 'ｐositive'; did you mean 'positive'?"),  # noqa: RUF001
    ],
)
def test_an_unexpected_label_is_reported(tmp_path, label, message):
    path = tmp_path / "list.csv"
    path.write_text(f"text,label\nfine,positive\nfine,{label}\n")
    with pytest.raises(InputError, match=re.escape(f"list.csv line 3 (guid '2'): {message}")):
        TrainingSource(path, labels=SENTIMENTS).read(["text"])


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (SENTIMENTS[::-1], SENTIMENTS),
        (("10", "9", "-1"), ("-1", "9", "10")),
        (("dog", "cat", "10"), ("10", "cat", "dog")),
        (("非仇恨", "仇恨"), ("仇恨", "非仇恨")),
    ],
)
def test_labels_have_an_order(labels, ordered):
    assert order_labels(labels) == ordered


@pytest.mark.parametrize(
    "label", ["می\u200cروم", "क्\u200dष", "\U0001f469\u200d\U0001f467", "a\u200cb\u200dc"]
)
def test_joiners_inside_a_label_are_allowed(label):
    assert label_fault(label) is None


@pytest.mark.parametrize(
    "label",
    [
        "\u200cab",
        "ab\u200d",
        "a\u200c\u200cb",
        "\u200c",
        "a\u200bb",
        "a\u202eb",
        "a\ufeffb",
        "a\u00adb",
    ],
)
def test_an_invisible_label_is_refused(label):
    assert "can't contain control characters" in str(label_fault(label))

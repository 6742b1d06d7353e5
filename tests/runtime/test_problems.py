"""How problems with data are reported: one by one or, if there are many, by kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsent.errors import MAX_LINES, InputError, Problem, refuse, summarize


def row(line, message, file="list.csv"):
    return Problem("list.csv", line, str(line), file, message)


def test_a_few_are_listed_singly():
    problems = [row(line, "the label is missing") for line in range(2, 2 + MAX_LINES)]
    assert summarize(problems) == [str(problem) for problem in problems]


def test_many_are_grouped_with_their_values():
    advice = "it must be one of cat, dog"
    labels = ["0"] * 57 + ["1"] * 33
    problems = [
        row(line, f"unknown label {label!r}; {advice}") for line, label in enumerate(labels, 2)
    ]
    problems.append(row(99, "the text does not exist", file="data/99.txt"))
    assert summarize(problems) == [
        f"90 rows: unknown label '0' (57), '1' (33); {advice}; first: list.csv line 2 (guid '2')",
        "list.csv line 99 (guid '99'): data/99.txt: the text does not exist",
    ]


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        (["the image does not exist"], "the image does not exist"),
        # Different advice is left out; text in quotes is not advice.
        (["unknown label 'a;b'; did you mean 'ab'?", "unknown label 'c'; did you mean 'd'?"],
         "unknown label 'a;b' (15), 'c' (15)"),
        (["the guid is already on line 3", "the guid is already on line 4"],
         "the guid is already on line 3 (15), 4 (15)"),
        (["a label can't be '\\'', it can't", "a label can't be \"'\", it can't"],
         "a label can't be '\\'' (15), \"'\" (15), it can't"),
        (["the image has 30 x 9 pixels", "the image has 40 x 9 pixels"],
         "the image has 30 (15), 40 (15) x 9 pixels"),
        ([f"unknown label '{n}'" for n in range(10)],
         "unknown label '0' (3), '1' (3), '2' (3), '3' (3), '4' (3) and 5 others"),
    ],
)  # fmt: skip
def test_the_message_of_a_kind(messages, line):
    problems = [row(place + 2, messages[place % len(messages)]) for place in range(30)]
    assert summarize(problems) == [f"30 rows: {line}; first: list.csv line 2 (guid '2')"]


def test_the_first_file_of_a_kind_is_named():
    problems = [row(n, "the image does not exist", file=f"data/{n}.jpg") for n in range(2, 40)]
    (line,) = summarize(problems)
    assert line == (
        "38 rows: the image does not exist; first: list.csv line 2 (guid '2'), data/2.jpg"
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.text()), min_size=1, max_size=80))
def test_every_problem_is_counted_once(found):
    """Whatever the messages contain, and within the limit of lines."""
    problems = [Problem("a.csv", 2, "", f"{kind}", f"{text}") for kind, text in found]
    lines = summarize(problems)
    assert 1 <= len(lines) <= MAX_LINES

    def count(line):
        words = line.split(" ")
        return int(words[0]) if words[0].isdigit() and words[1] in ("rows:", "more,") else 1

    assert sum(map(count, lines)) == len(problems)


def test_kinds_beyond_the_last_line_are_counted():
    problems = [row(n, f"kind {chr(97 + n // 2)} of fault") for n in range(2, 52)]
    *lines, last = summarize(problems)
    assert len(lines) == MAX_LINES - 1
    assert last == "12 more, of 6 other kinds"


def test_a_refusal_says_how_to_list_them_all():
    with pytest.raises(InputError) as error:
        refuse([row(n, "the label is missing") for n in range(2, 32)], "nothing was trained")
    assert str(error.value).splitlines() == [
        "30 problems in the data; nothing was trained:",
        "  30 rows: the label is missing; first: list.csv line 2 (guid '2')",
        "  `mmsent check-data --all` lists every one",
    ]

"""The lexicon: the package's entries, and how they are found in tokens."""

import importlib.util
import re
import shutil
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models.lexicon import FILE, PACKAGE, SCALE, Lexicon, read_lexicon
from mmsent_training.models.light import LONGEST_ENTRY, train_tokenizer

WORDS = {"happy": 2.7, "hap": 1.0, "no": -1.2, "sadness": -1.9, "not good": 3.3, ":)": 2.0}


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of the letters and subwords of all words in the lexicon."""
    entries = [entry for entry in read_lexicon() if entry.isascii()]
    return train_tokenizer([*entries, *WORDS] * 2, max_length=96, preset="default")


def learnt(words, tokenizer):
    lexicon = Lexicon(tokenizer.get_vocab_size(), LONGEST_ENTRY)
    lexicon.learn(words, tokenizer)
    return lexicon


def find(lexicon, tokenizer, *texts):
    """The valences found in each text, in order."""
    found = lexicon.find(*map(torch.from_numpy, pad_ids(tokenize(tokenizer, texts))))
    return [row[row != 0].tolist() for row in found]


def vader():
    """The package's own module, whose code mmsent never runs."""
    return pytest.importorskip("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()


def test_the_entries_are_those_that_vader_reads():
    theirs = vader().lexicon
    ours = read_lexicon()
    assert ours.keys() == {entry.lower() for entry in theirs}
    assert all(ours[entry] == theirs[entry] for entry in theirs if entry == entry.lower())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Happy, happy!", [2.7, 2.7]),
        ("so happy :) now", [2.7, 2.0]),
        ("no sadness", [-1.2, -1.9]),
        ("unhappy happyish now nohap", []),
        ("", []),
    ],
)
def test_entries_are_found_as_whole_words(tokenizer, text, wanted):
    lexicon = learnt(WORDS, tokenizer)
    assert find(lexicon, tokenizer, text) == [pytest.approx(wanted)]


def test_nothing_is_found_before_the_entries_are_set(tokenizer):
    lexicon = Lexicon(tokenizer.get_vocab_size(), LONGEST_ENTRY)
    assert find(lexicon, tokenizer, "happy") == [[]]


def test_all_words_of_vader_are_found(tokenizer):
    """Each on its own, with its valence, except those longer than six tokens."""
    entries = {word: value for word, value in read_lexicon().items() if word.isalpha()}
    found = find(learnt(entries, tokenizer), tokenizer, *entries)
    right = [got == [pytest.approx(value)] for got, value in zip(found, entries.values())]
    tokens = [len(tokenizer.encode(word, add_special_tokens=False).ids) for word in entries]
    assert right == [count <= LONGEST_ENTRY for count in tokens]
    assert sum(right) > 0.98 * len(entries)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from([*WORDS, "now", "x"]), max_size=9), min_size=1))
def test_a_text_has_the_same_valences_in_any_batch(tokenizer, texts):
    """Whatever else is in the batch."""
    lexicon = learnt(WORDS, tokenizer)
    texts = [" ".join(words) for words in texts]
    together = find(lexicon, tokenizer, *texts)
    assert together == [find(lexicon, tokenizer, text)[0] for text in texts]


def test_the_balance_is_vaders_own(tokenizer):
    """The compound score, for plain words to which none of VADER's rules apply."""
    text = "happy day and a sad end of the love story"
    lexicon = learnt(read_lexicon(), tokenizer)
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(tokenizer, [text])))
    balance = lexicon(ids, mask)[0, 2] / SCALE
    assert float(balance) == pytest.approx(vader().polarity_scores(text)["compound"], abs=1e-4)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, which a test may damage, in place of the installed one."""
    installed = importlib.util.find_spec(PACKAGE).submodule_search_locations[0]
    shutil.copytree(installed, tmp_path / PACKAGE)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)  # other tests import it
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / PACKAGE


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_lexicon_is_refused(run_command, sample, package, tmp_path, damage):
    file = package / FILE
    content = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(re.sub(rb"happy\t2", b"happy\t1", content))
    result = run_command(
        "mmsent", "train", "--model", "light", "--data", sample, "--output", "run", cwd=tmp_path
    )
    assert result.code == 2
    assert str(file) in result.err
    assert "pip install --force-reinstall" in result.err
    assert not (tmp_path / "run").exists()

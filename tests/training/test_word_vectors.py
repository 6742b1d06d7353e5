"""Word vectors: what the file holds, found in texts as tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models.light import LONGEST_ENTRY, train_tokenizer
from mmsent_training.models.word_vectors import ROWS, WIDTH, WordVectors, read_word_vectors

WORDS = ("happy", "hap", "no", "sadness", "1", ":", "a")
SCALE = 0.25


@pytest.fixture(scope="module")
def known():
    """A vector for each of WORDS."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(WORDS), WIDTH)
    vectors = torch.randint(-127, 128, shape, dtype=torch.int8, generator=generator)
    return dict(zip(WORDS, vectors))


@pytest.fixture(scope="module")
def tokenizer():
    """Of the subwords of all words that have a vector, which has their letters."""
    return train_tokenizer([*read_word_vectors()[0]] * 2, max_length=96, preset="default")


@pytest.fixture(scope="module")
def model(known, tokenizer):
    model = WordVectors(tokenizer.get_vocab_size(), LONGEST_ENTRY)
    model.learn(known, SCALE, tokenizer)
    return model


def inputs(tokenizer, texts):
    return map(torch.from_numpy, pad_ids(tokenize(tokenizer, texts)))


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*WORDS, "unhappy", "happyish", "nohap", "x"]), max_size=12),
        min_size=1,
        max_size=5,
    )
)
def test_a_texts_features_are_the_sum_of_its_words_vectors(model, known, tokenizer, texts):
    """Whatever else is in the batch, to the last bit; parts of words are no words."""
    features = model(*inputs(tokenizer, [" ".join(words) for words in texts]))
    for words, row in zip(texts, features, strict=True):
        tokens = tokenizer.encode(" ".join(words)).ids
        vectors = [known[word].float() for word in words if word in known]
        wanted = SCALE * sum(vectors, torch.zeros(WIDTH)) / torch.tensor(len(tokens)).sqrt()
        torch.testing.assert_close(row, wanted)
        assert torch.equal(row, model(*inputs(tokenizer, [" ".join(words)]))[0])


def test_nothing_is_found_before_it_is_told(tokenizer):
    model = WordVectors(tokenizer.get_vocab_size(), LONGEST_ENTRY)
    assert not model(*inputs(tokenizer, ["happy"])).any()


def test_all_words_of_the_file_are_found(tokenizer):
    """Each alone, but for those that are longer than six tokens."""
    vectors, scale = read_word_vectors()
    assert len(vectors) < ROWS
    model = WordVectors(tokenizer.get_vocab_size(), LONGEST_ENTRY)
    model.learn(vectors, scale, tokenizer)
    words = [word for word, vector in vectors.items() if vector.any()][::16]
    lengths = torch.tensor([len(ids) - 1 for ids in tokenize(tokenizer, words)])
    found = model(*inputs(tokenizer, words)) * (lengths + 1).sqrt().unsqueeze(1)
    short = lengths <= LONGEST_ENTRY
    wanted = torch.stack([vectors[word] for word in words]) * scale * short.unsqueeze(1)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert short.float().mean() > 0.95


@pytest.mark.parametrize(
    ("word", "like", "unlike"),
    [("great", "awesome", "terrible"), ("boring", "dull", "exciting"), ("monday", "friday", "dog")],
)
def test_words_of_one_meaning_are_near_each_other(word, like, unlike):
    vectors, _ = read_word_vectors()

    def near(one, other):
        return torch.cosine_similarity(vectors[one].float(), vectors[other].float(), dim=0)

    assert near(word, like) > near(word, unlike) + 0.1

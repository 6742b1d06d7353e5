"""The model light and its tokenizer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import MultinomialNB
from torch import nn

from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.models.lexicon import SCALE
from mmsent_training.models.light import (
    IMAGE_SIZES,
    NAIVE_BAYES,
    NETWORKS,
    NGRAM,
    LightModel,
    train_tokenizer,
)
from mmsent_training.models.word_vectors import WIDTH


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    torch.manual_seed(0)
    model = LightModel(vocabulary=50, **NETWORKS[request.param]).eval()
    # All single tokens, and a seventh of all bigrams.
    texts = [[a, b] for a in range(1, 50) for b in range(1, 50, 7)] * 2
    model.learn_ngrams(texts, [sum(text) % 3 for text in texts])
    return model


def tokens(texts, *, trained_on, max_length=96, preset="reference"):
    tokenizer = train_tokenizer(trained_on, max_length=max_length, preset=preset)
    return [[tokenizer.id_to_token(i) for i in ids] for ids in tokenize(tokenizer, texts)]


def test_words_numbers_and_punctuation_are_tokens():
    text = "RT @NYSE: it's 2024, Go!! #fun"
    assert tokens([text], trained_on=[text, text]) == [
        "[START] rt @ nyse : it ' s 2024 , go ! ! # fun".split()
    ]


def test_words_seen_once_are_unknown():
    assert tokens(["new old"], trained_on=["old", "old new"]) == [["[START]", "[UNK]", "old"]]


def test_an_unseen_word_is_split_into_subwords():
    (got,) = tokens(["Tested"], trained_on=["test"] * 9 + ["wanted"] * 9, preset="default")
    assert got[0] == "[START]"
    assert "[UNK]" not in got
    assert "".join(got[1:]) == "▁tested"


@pytest.mark.parametrize("preset", NETWORKS)
def test_an_empty_text_has_a_token(preset):
    got = tokens(["", "  "], trained_on=["a a"], preset=preset)
    assert got == [["[START]"], ["[START]"]]


@pytest.mark.parametrize("preset", NETWORKS)
def test_long_texts_are_truncated(preset):
    (got,) = tokens(["a " * 500], trained_on=["a a"], max_length=96, preset=preset)
    assert len(got) == 96


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 49), min_size=1, max_size=20), min_size=1, max_size=6))
def test_padding_never_reaches_the_encoder(model, sequences):
    """In a padded batch, each text has the same features as alone."""
    with torch.no_grad():
        for encode in (model.embed_text, *([model.embed_ngrams] if model.ngrams else [])):
            together = encode(*map(torch.from_numpy, pad_ids(sequences)))
            for ids, features in zip(sequences, together):
                (alone,) = encode(*map(torch.from_numpy, pad_ids([ids])))
                torch.testing.assert_close(features, alone, atol=1e-5, rtol=0)


def test_text_features_are_the_mean_over_a_plain_gru(model):
    """Compared with PyTorch's own module, without packing."""
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        states, _ = model.gru(model.embedding(ids))
        wanted = model.text_projection(states.mean(dim=1))
        torch.testing.assert_close(model.embed_text(ids, torch.ones_like(ids)), wanted)


def test_the_bag_has_every_ngram_of_two_texts():
    """Compared with PyTorch's EmbeddingBag on the rows of the n-grams listed here."""
    model = LightModel(vocabulary=50, **NETWORKS["default"]).eval()
    text = [5, 6, 7, 8, 6]
    model.learn_ngrams([text, [9, *text, 9], [1, 2, 1, 2, 1, 2]], [0, 1, 2])
    ngrams = [text[i : i + n] for n in range(1, NGRAM + 1) for i in range(len(text) - n + 1)]
    rows = [
        sum(token * 50**place for place, token in enumerate(reversed(ngram))) % model.ngrams
        for ngram in ngrams
    ]
    with torch.no_grad():
        bag = nn.EmbeddingBag.from_pretrained(model.bag.weight, mode="sum")(torch.tensor([rows]))
        ids = torch.tensor([text])
        got = model.embed_ngrams(ids, torch.ones_like(ids))
        torch.testing.assert_close(got, bag / (NGRAM * len(text)) ** 0.5)
        # Only in one text, however often; never seen; seen, but not in this order.
        for unknown in ([1, 2, 1, 2], [3, 4], [9]):
            ids = torch.tensor([unknown])
            assert not model.embed_ngrams(ids, torch.ones_like(ids)).any()


def test_if_two_ngrams_share_a_row_the_more_frequent_one_gets_it():
    model = LightModel(vocabulary=50, ngrams=7).eval()  # 3 and 10 share row 3
    model.learn_ngrams([[3], [10], [10], [3], [10]], [0, 1, 2, 0, 1])
    with torch.no_grad():
        rare, frequent = (
            model.embed_ngrams(torch.tensor([[token]]), torch.tensor([[1]])) for token in (3, 10)
        )
    assert not rare.any()
    torch.testing.assert_close(frequent[0], model.bag.weight[3] / NGRAM**0.5)


def test_the_bag_is_initialised_with_naive_bayes():
    """Its evidence for a label, compared with scikit-learn's naive Bayes of label and rest."""
    texts = [[1, 2, 2], [2, 3], [1, 3], [4, 2], [4, 1], [3, 4]]
    labels = [0, 1, 2, 2, 0, 0]
    model = LightModel(vocabulary=50, **NETWORKS["default"]).eval()
    model.learn_ngrams(texts, labels)
    there = np.array([[token in text for token in (1, 2, 3, 4)] for text in texts])
    ids, mask = torch.tensor([[1], [2], [3], [4]]), torch.ones(4, 1, dtype=torch.int64)
    with torch.no_grad():
        got = model.bag_head(model.embed_ngrams(ids, mask)) * NGRAM**0.5 / NAIVE_BAYES
    for label in range(3):
        first, second = MultinomialNB().fit(there, np.array(labels) == label).feature_log_prob_
        assert got[:, label].numpy() == pytest.approx(second - first, abs=1e-5)


def test_pixels_are_normalised_as_in_torchvision():
    from torchvision.transforms.v2.functional import normalize, to_dtype

    model = LightModel(vocabulary=50, **NETWORKS["reference"]).eval()
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    scaled = to_dtype(pixels.permute(0, 3, 1, 2), torch.float32, scale=True)
    wanted = normalize(scaled, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        features = model.image_projection(model.cnn(wanted))
        torch.testing.assert_close(model.embed_image(pixels), features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_modality_ignores_the_other(modality):
    model = LightModel(vocabulary=50, modality=modality).eval()
    ids, mask = torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.int64)
    pixels = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    with torch.no_grad():
        same = model(ids, mask, pixels)
        other_text = model(ids + 1, mask, pixels)
        other_image = model(ids, mask, pixels + 99)
    assert torch.equal(same, other_text) == (modality == "image")
    assert torch.equal(same, other_image) == (modality == "text")


def test_a_missing_image_has_no_influence():
    """Whatever the statistics of grey are, the head gets zeros, as in training."""
    model = LightModel(vocabulary=50, **NETWORKS["default"]).eval()
    ids, mask = torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.int64)
    grey = torch.full((1, 112, 112, 3), 127, dtype=torch.uint8)
    with torch.no_grad():
        text = model.embed_text(ids, mask)
        wanted = model.head(torch.cat([text, torch.zeros(1, 256)], dim=1))
        wanted = wanted + model.bag_head(model.embed_ngrams(ids, mask))
        assert torch.equal(model(ids, mask, grey), wanted)
        grey[0, 100, 100, 0] = 128
        assert not torch.equal(model(ids, mask, grey), wanted)


def test_the_layers_are_those_of_the_report():
    model = LightModel(vocabulary=50, **NETWORKS["reference"])
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size, m.stride) for m in convolutions] == [
        (width, (3, 3), (2, 2)) for width in (32, 64, 128, 256)
    ]
    assert (model.gru.input_size, model.gru.hidden_size) == (192, 192)
    assert model.gru.bidirectional
    assert IMAGE_SIZES["reference"] == 224
    assert model.text_projection[1].out_features == model.image_projection[1].out_features == 256


def test_what_the_word_vectors_say_is_added_to_the_logits():
    tokenizer = train_tokenizer(["good bad"] * 3, max_length=96, preset="default")
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(tokenizer, ["bad", "good, good"])))
    pixels = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    model = LightModel(tokenizer.get_vocab_size(), **NETWORKS["default"]).eval()
    model.word_head.weight.data = torch.ones(3, WIDTH)
    with torch.no_grad():
        before = model(ids, mask, pixels)
        vector = torch.arange(WIDTH, dtype=torch.int8)
        model.word_vectors.learn({"good": vector, "bad": -vector}, 0.5, tokenizer)
        said = model(ids, mask, pixels) - before
    words = 0.5 * float(vector.sum()) * torch.tensor([-1, 2]) / mask.sum(1).sqrt()
    torch.testing.assert_close(said, words.unsqueeze(1).expand(2, 3))


def test_the_lexicons_score_is_added_to_the_logits():
    tokenizer = train_tokenizer(["good bad"] * 3, max_length=96, preset="default")
    ids, mask = map(torch.from_numpy, pad_ids(tokenize(tokenizer, ["bad", "good, good"])))
    pixels = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    model = LightModel(tokenizer.get_vocab_size(), **NETWORKS["default"]).eval()
    model.lexicon_head.weight.data = torch.ones(3, 4)
    with torch.no_grad():
        before = model(ids, mask, pixels)
        model.lexicon.learn({"good": 1.9, "bad": -2.5}, tokenizer)
        said = model.lexicon(ids, mask)
        torch.testing.assert_close(
            model(ids, mask, pixels) - before, said.sum(1, True).expand(2, 3)
        )
    assert said[0, :2].tolist() == [0, pytest.approx(SCALE * 2.5 / 6.5)]
    assert said[1, :2].tolist() == [pytest.approx(SCALE * 3.8 / 7.8), 0]

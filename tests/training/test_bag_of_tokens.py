"""The linear model of tokens, compared with scikit-learn's, and beside a network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from mmsent.inputs.text import pad_ids
from mmsent_training.models import dual
from mmsent_training.models.bag_of_tokens import SHARE, BagOfTokens, pool
from mmsent_training.weights.encoders import find_encoders

from .encoder_folders import IMAGE, SIZE, write_bert
from .tasks import make_task

VOCABULARY = 40
START, END, ONCE = 1, 2, 39


def draw(labels):
    """Texts in which some tokens go with each label, and ONCE is in a single text."""
    generator = np.random.default_rng(0)
    found = generator.integers(0, labels, 60)
    found[:labels] = range(labels)
    texts = [
        [START, *generator.integers(3 + 5 * label, 28, generator.integers(1, 9)).tolist(), END]
        for label in found
    ]
    texts[7].insert(1, ONCE)
    return texts, torch.from_numpy(found)


def fitted(labels):
    texts, found = draw(labels)
    bag = BagOfTokens(VOCABULARY, labels)
    bag.fit(texts, found, ignored=[START, END])
    return bag


def logits(bag, texts):
    ids, mask = map(torch.from_numpy, pad_ids(texts))
    return pool(bag(ids), mask)


@pytest.mark.parametrize("labels", [2, 3])
def test_logits_are_a_share_of_those_of_scikit_learn(labels):
    texts, found = draw(labels)
    lengths = np.sqrt([[len(text)] for text in texts])
    counter = CountVectorizer(analyzer=lambda text: text[1:-1], min_df=2)
    counts = counter.fit_transform(texts).toarray() / lengths
    reference = LogisticRegression(C=3, max_iter=500).fit(counts, found.numpy())
    wanted = reference.decision_function(counts) - reference.intercept_
    got = logits(fitted(labels), texts).numpy() / SHARE
    if labels == 2:
        got = got[:, 1] - got[:, 0]
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    assert np.abs(wanted).max() > 1


def test_tokens_of_one_text_or_of_all_say_nothing():
    bag = fitted(3)
    assert not logits(bag, [[START, END], [START, ONCE, ONCE, END]]).any()
    assert logits(bag, [[START, 20, END]]).any()


def test_texts_without_a_common_token_leave_it_empty():
    bag = BagOfTokens(VOCABULARY, 2)
    bag.fit([[START, 5, END], [START, 6, END]], torch.tensor([0, 1]), ignored=[START, END])
    assert not bag.weight.any()


@pytest.mark.parametrize("layers", [1, "all"])
def test_it_counts_in_prediction_only(tmp_path, layers):
    text, image = write_bert(tmp_path / "bert"), IMAGE["vit"](tmp_path / "vit")
    options = {"train_text_layers": layers, "bag_of_tokens": True}
    task = make_task("dual", find_encoders(str(text), str(image)), options=options)
    texts, labels = draw(3)
    examples = replace(task.examples, labels=labels.numpy())
    task = replace(task, examples=examples, train=range(len(texts)))
    description, model = dual.create(task, dual.read_inputs(task), texts)
    plain = dual.build(**description | {"bag_of_tokens": False})
    weights = model.state_dict()
    bag = weights.pop("head.bag.weight")
    assert bag.any()
    plain.load_state_dict(weights)
    ids, mask = map(torch.from_numpy, pad_ids([[5, 9], [6, 9, 12, 13]]))
    pixels = torch.randint(256, (2, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.no_grad():
        difference = model.eval()(ids, mask, pixels) - plain.eval()(ids, mask, pixels)
        torch.testing.assert_close(difference, pool(bag[ids], mask))
        torch.manual_seed(0)
        trained = model.train()(ids, mask, pixels)
        torch.manual_seed(0)
        assert torch.equal(trained, plain.train()(ids, mask, pixels))

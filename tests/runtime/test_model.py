"""Prediction from a bundle, through SentimentModel."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsent import InputError, Prediction, SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, image_file
from mmsent.data.labels import SENTIMENTS

TOLERANCE = 1e-6


@cache
def model(path: Path, threads: int) -> SentimentModel:
    return SentimentModel(path, threads=threads)


@pytest.fixture(scope="module")
def pairs(sample):
    """The texts and images of the sample's unlabelled list, and an empty and a long text."""
    rows = list(open_dataset(sample / TEST_LIST).rows())
    texts = [pair.read_text() for pair in rows]
    images = [image_file(sample, pair.guid) for pair in rows]
    return [*texts, "", "sad rain " * 300], [*images, images[0], images[1]]


@pytest.fixture(scope="module")
def alone(bundle, pairs):
    """Each pair predicted alone, on one thread."""
    return [model(bundle, 1).predict(text, image) for text, image in zip(*pairs)]


def test_a_prediction_names_the_most_probable_label(alone):
    for prediction in alone:
        assert tuple(prediction.probabilities) == SENTIMENTS
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


def test_every_kind_of_image_gives_the_same_prediction(bundle, pairs, alone):
    path = pairs[1][0]
    with Image.open(path) as opened:
        for image in (Path(path), Path(path).read_bytes(), opened):
            assert model(bundle, 1).predict(text=pairs[0][0], image=image) == alone[0]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_pair_is_predicted_the_same_in_any_company(bundle, pairs, alone, data):
    """Rule 1: alone, in any batch, in any order, on one thread or two."""
    indices = st.lists(st.integers(0, len(alone) - 1), min_size=1, max_size=40)
    chosen = data.draw(indices)
    threads = data.draw(st.sampled_from([1, 2]))
    texts, images = ([items[index] for index in chosen] for items in pairs)
    got = model(bundle, threads).predict(texts, images)
    for index, prediction in zip(chosen, got, strict=True):
        assert values(prediction) == pytest.approx(values(alone[index]), abs=TOLERANCE)


def values(prediction: Prediction) -> list[float]:
    return list(prediction.probabilities.values())


def test_lists_of_different_lengths_are_refused(bundle, pairs):
    with pytest.raises(InputError, match="same length"):
        model(bundle, 1).predict(pairs[0], pairs[1][:-1])


def test_every_bad_image_is_named(bundle, pairs, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError) as error:
        model(bundle, 2).predict(["a", "b", "c"], [broken, pairs[1][0], tmp_path / "none.jpg"])
    assert f"{broken}: the image can't be decoded" in str(error.value)
    assert f"{tmp_path / 'none.jpg'}: the image does not exist" in str(error.value)


def test_an_array_is_an_image(bundle):
    pixels = np.zeros((30, 40, 3), np.uint8)
    prediction = model(bundle, 1).predict("a", pixels)
    assert prediction == model(bundle, 1).predict("a", Image.new("RGB", (40, 30)))


def test_a_missing_image_is_handled_where_the_model_was_trained_for_it(bundle, pairs):
    """The light model was; None is a pair without an image, alone or among others."""
    text, image = pairs[0][0], pairs[1][0]
    answer = model(bundle, 1).predict(text=text)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6)
    size = model(bundle, 1).info.image.size
    grey = np.full((size, size, 3), 127, np.uint8)
    assert model(bundle, 1).predict(text=text, image=grey) == answer
    with_image, without = model(bundle, 1).predict(text=[text, text], image=[image, None])
    for label in SENTIMENTS:
        assert without.probabilities[label] == pytest.approx(
            answer.probabilities[label], abs=TOLERANCE
        )
    assert with_image != without


def test_what_the_model_was_not_trained_to_miss_is_refused(bundle, pairs):
    with pytest.raises(InputError, match=r"lacks its text.*not trained"):
        model(bundle, 1).predict(image=pairs[1][0])
    with pytest.raises(InputError, match="lacks its text"):
        model(bundle, 1).predict(text=["fine", None], image=pairs[1][:2])


def test_a_pair_of_nothing_is_refused(bundle):
    with pytest.raises(InputError, match="lacks"):
        model(bundle, 1).predict()

"""The names and parameters that users rely on: a change here breaks their programs."""

import inspect

import pytest

import mmsent
import mmsent.ray
from mmsent.predict.infer import infer


def test_the_package_exports_exactly_these_names():
    assert set(mmsent.__all__) == {
        "Explanation", "InputError", "MmsentError", "Prediction", "SentimentModel", "__version__",
    }  # fmt: skip
    for name in mmsent.__all__:
        assert getattr(mmsent, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        mmsent.Model  # noqa: B018


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (mmsent.SentimentModel, "path threads device"),
        (mmsent.SentimentModel.predict, "self text image"),
        (mmsent.SentimentModel.explain, "self text image grid budget"),
        (mmsent.SentimentModel.tokenize, "self texts"),
        (mmsent.SentimentModel.run, "self ids pixels"),
        (mmsent.SentimentModel.embed, "self text image"),
        (mmsent.Prediction, "label probabilities logits embedding"),
        (
            infer,
            "list_path model_path output reading wanted skip resume workers batch_size device",
        ),
        (
            mmsent.ray.predict,
            "dataset model folder prefix on_error allow_missing concurrency device ray_options",
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_parameters(function, parameters):
    assert list(inspect.signature(function).parameters) == parameters.split()


def test_a_model_has_the_metadata_of_its_bundle(bundle):
    model = mmsent.SentimentModel(bundle)
    assert model.labels == ("negative", "neutral", "positive")
    assert model.info.model == "light"
    assert len(model.identity) == 64


def test_bad_input_is_a_value_error():
    assert issubclass(mmsent.InputError, mmsent.MmsentError)
    assert issubclass(mmsent.InputError, ValueError)

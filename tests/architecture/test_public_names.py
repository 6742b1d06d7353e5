"""What users import."""

from importlib.metadata import entry_points, version

import pytest

import mmsent

NAMES = {"Explanation", "InputError", "MmsentError", "Prediction", "SentimentModel", "__version__"}


def test_the_runtimes_names():
    names = {}
    exec("from mmsent import *", names)
    assert names.keys() - {"__builtins__"} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_a_public_class_says_what_it_is(name):
    assert getattr(mmsent, name).__doc__


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'Model'"):
        _ = mmsent.Model


@pytest.mark.parametrize("distribution", ["mmsent", "mmsent-training", "mmsent-export"])
def test_the_three_distributions_have_one_version(distribution):
    assert version(distribution) == mmsent.__version__


@pytest.mark.parametrize("name", ["mmsent", "mmsent-infer", "mmsent-export"])
def test_a_commands_function_is_there(name):
    (script,) = entry_points(group="console_scripts", name=name)
    assert callable(script.load())

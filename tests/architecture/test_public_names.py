"""The names that users import."""

from importlib.metadata import entry_points, version

import pytest

import mmsent

NAMES = {"Explanation", "InputError", "MmsentError", "Prediction", "SentimentModel", "__version__"}


def test_names_of_the_runtime():
    names = {}
    exec("from mmsent import *", names)
    assert names.keys() - {"__builtins__"} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_public_classes_have_docstrings(name):
    assert getattr(mmsent, name).__doc__


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'Model'"):
        _ = mmsent.Model


@pytest.mark.parametrize("distribution", ["mmsent", "mmsent-training", "mmsent-export"])
def test_the_three_distributions_have_one_version(distribution):
    assert version(distribution) == mmsent.__version__


@pytest.mark.parametrize("name", ["mmsent", "mmsent-infer", "mmsent-export"])
def test_command_functions_can_be_imported(name):
    (script,) = entry_points(group="console_scripts", name=name)
    assert callable(script.load())

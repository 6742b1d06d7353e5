"""mmsent's exceptions can be sent to another process."""

import importlib
import inspect
import pickle
import pkgutil

import mmsent
import mmsent_export
import mmsent_training
from mmsent.errors import InputError, Interrupted, MmsentError, Problem


def exceptions() -> set[type[BaseException]]:
    """Every exception class of the three packages."""
    found: set[type[BaseException]] = set()
    for package in (mmsent, mmsent_training, mmsent_export):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            names = vars(importlib.import_module(module.name)).values()
            found |= {
                item for item in names
                if inspect.isclass(item) and issubclass(item, BaseException)
                and item.__module__.startswith("mmsent")
            }  # fmt: skip
    return found


def test_every_exception_pickles():
    kinds = exceptions()
    assert kinds >= {MmsentError, InputError, Interrupted}
    for kind in kinds:
        own = inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}
        needed = [
            each.annotation for each in own.values() if each.kind is each.POSITIONAL_OR_KEYWORD
        ]
        error = kind(*(7 if each in (int, "int") else "it fails" for each in needed[1:] or [str]))
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is kind
        assert str(back) == str(error)
        assert vars(back) == vars(error)


def test_an_interruption_keeps_its_exit_code():
    assert issubclass(Interrupted, MmsentError)
    assert pickle.loads(pickle.dumps(Interrupted("stopped", 15))).exit_code == 143


def test_a_problem_pickles():
    problem = Problem("list.csv", 3, "7", "a.jpg", "the image does not exist")
    assert pickle.loads(pickle.dumps(problem)) == problem

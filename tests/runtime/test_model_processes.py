"""Copies of a SentimentModel, and its use in other processes.

Every child process has a time limit, since failures here are hangs.
"""

import copy
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from mmsent import InputError, MmsentError, SentimentModel

SECONDS = 100
TEXTS = ["what a sad day", "fun", "rain " * 30] * 10
IMAGES = [np.full((300, 200, 3), value, np.uint8) for value in range(0, 240, 8)]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Python warns about this since 3.12; these tests check what can then go wrong.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def predict(model: SentimentModel) -> list[str]:
    return [prediction.label for prediction in model.predict(TEXTS, IMAGES)]


@pytest.fixture(params=["path", "bytes"])
def model(request, bundle):
    """A model that has already predicted, on several threads."""
    source = bundle if request.param == "path" else bundle.read_bytes()
    model = SentimentModel(source, threads=4, device="cpu")
    predict(model)
    return model


@pytest.fixture
def wanted(bundle):
    return predict(SentimentModel(bundle, threads=1))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_predicts(model, wanted, copied):
    other = copied(model)
    assert other is not model
    assert (other.info, other.identity, other.threads) == (model.info, model.identity, 4)
    assert predict(other) == wanted == predict(model)


def test_a_pickle_of_a_path_is_small_and_works_in_another_folder(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(bundle.parent)
    pickled = pickle.dumps(SentimentModel(bundle.name, threads=1))
    assert len(pickled) < bundle.stat().st_size / 10
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).labels


def test_another_bundle_at_the_same_path_is_refused(bundle, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(bundle.read_bytes())
    pickled = pickle.dumps(SentimentModel(path, threads=1))
    content = bundle.read_bytes()
    seal = SentimentModel(path, threads=1).identity.encode()
    path.write_bytes(content.replace(seal, b"0" * 64))
    with pytest.raises(InputError, match=r"model\.onnx has been replaced by another bundle"):
        pickle.loads(pickled)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        pickle.loads(pickled)


def test_a_spawned_process_predicts(model, wanted):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(predict, model).result(SECONDS) == wanted


@forks
def test_a_forked_process_predicts(model, wanted):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(predict, [model] * 4).get(SECONDS) == [wanted] * 4


@forks
@pytest.mark.parametrize(
    "use",
    [
        "predict",
        *(pytest.param(use, marks=pytest.mark.slow) for use in ("reopen", "delete")),
        "nested",
    ],
)
def test_a_forked_child_neither_hangs_nor_crashes(bundle, model, wanted, use):
    """It uses the inherited model, opens another one, deletes it, or forks again."""

    def child() -> bool:
        if use == "nested":
            predict(model)
            return in_child(lambda: predict(model) == wanted)
        if use == "predict":
            return predict(model) == wanted
        vars(model).clear()  # no reference to its session is left
        return use == "delete" or predict(SentimentModel(bundle, threads=4)) == wanted

    assert in_child(child)
    assert predict(model) == wanted


@forks
def test_a_forked_child_does_not_use_the_inherited_session(bundle, tmp_path, wanted):
    """If the bundle no longer exists, it can't open it again, and says so."""
    path = tmp_path / "model.onnx"
    path.write_bytes(bundle.read_bytes())
    model = SentimentModel(path, threads=1)
    path.unlink()

    def child() -> bool:
        with pytest.raises(InputError, match="does not exist"):
            predict(model)
        return True

    assert in_child(child)
    assert predict(model) == wanted


def in_child(work) -> bool:
    """Whether ``work`` returns a true value in a forked child within the time limit."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)  # ends it
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@forks
def test_a_gpu_session_is_refused_in_a_forked_child(bundle, monkeypatch):
    """CUDA can't be used after a fork. The session only claims to use a GPU, so none is needed."""
    model = SentimentModel(bundle, threads=1, device="cpu")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda self: providers)
    predict(model)

    def child() -> bool:
        with pytest.raises(MmsentError, match=r'forked after .*"spawn".*device="cpu"'):
            predict(model)
        return True

    assert in_child(child)

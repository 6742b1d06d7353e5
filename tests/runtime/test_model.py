"""Prediction from a bundle, through SentimentModel."""

import io
import pathlib
import re
import tempfile
from collections import UserDict, deque
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
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
    """The texts and image paths of the sample's unlabelled list, and an empty and a long text."""
    rows = list(open_dataset(sample / TEST_LIST).rows())
    texts = [pair.read_text() for pair in rows]
    images = [Path(image_file(sample, pair.guid)) for pair in rows]
    return [*texts, "", "sad rain " * 300], [*images, images[0], images[1]]


@pytest.fixture(scope="module")
def alone(bundle, pairs):
    """Each pair predicted alone, on one thread."""
    return [model(bundle, 1).predict(text, image) for text, image in zip(*pairs)]


def test_a_prediction_has_the_most_probable_label(alone):
    for prediction in alone:
        assert tuple(prediction.probabilities) == SENTIMENTS
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


def test_probabilities_are_the_softmax_of_the_logits(alone):
    for prediction in alone:
        assert tuple(prediction.logits) == SENTIMENTS
        powers = np.exp(np.array(list(prediction.logits.values()), np.float64))
        assert values(prediction) == pytest.approx(list(powers / powers.sum()), abs=1e-6)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A JPEG file of noise."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def close(source: object) -> None:
    """Close a file."""
    if isinstance(source, io.IOBase | tempfile.SpooledTemporaryFile | Image.Image):
        source.close()


def spooled(path: Path) -> tempfile.SpooledTemporaryFile:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(path.read_bytes())
    return file  # at its end, as after it was displayed


def rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


FILES = {
    "str": str,
    "Path": Path,
    "PurePath": pathlib.PurePath,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "file": lambda path: open(path, "rb"),  # noqa: SIM115
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
}
IMAGES = FILES | {
    "unbuffered file": lambda path: open(path, "rb", buffering=0),  # noqa: SIM115
    "spooled": spooled,
    "Pillow": Image.open,
    "array": lambda path: np.asarray(rgb(path)),
    "upload": lambda path: {"name": path.name, "content": memoryview(path.read_bytes())},
    "upload's bytes": lambda path: UserDict(content=path.read_bytes()),
    "datasets' bytes": lambda path: {"bytes": path.read_bytes(), "path": "not there"},
    "datasets' path": lambda path: {"bytes": None, "path": str(path)},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_gives_the_same_prediction(bundle, photo, kind):
    """The same as for its path: alone, twice, and twenty times in a list on two threads."""
    wanted = model(bundle, 1).predict("a day", photo)
    image = IMAGES[kind](photo)
    for _ in range(2):
        assert model(bundle, 1).predict("a day", image) == wanted
    several = model(bundle, 2).predict(["a day"] * 20, [image] * 20)
    assert all(values(one) == pytest.approx(values(wanted), abs=TOLERANCE) for one in several)
    close(image)


def test_a_notebook_upload_of_one_file_is_one_image(bundle, pairs, alone):
    """FileUpload.value is a tuple, even with one file."""
    uploads = tuple({"name": path.name, "content": path.read_bytes()} for path in pairs[1])
    assert model(bundle, 1).predict(pairs[0][0], uploads[:1]) == alone[0]
    assert len(model(bundle, 1).predict(pairs[0], uploads)) == len(alone)


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "Series": lambda items: pd.Series(items, index=range(7, 7 + len(items))),
    "Index": pd.Index,
    "array": lambda items: np.array(items, object),
    "array of str": lambda items: np.array([str(item) for item in items]),
}


@pytest.mark.parametrize("texts", COLUMNS)
@pytest.mark.parametrize("images", COLUMNS)
def test_every_kind_of_list_gives_the_same_predictions(bundle, pairs, alone, texts, images):
    got = model(bundle, 1).predict(COLUMNS[texts](pairs[0]), COLUMNS[images](pairs[1]))
    assert [one.label for one in got] == [one.label for one in alone]
    for one, other in zip(got, alone, strict=True):
        assert values(one) == pytest.approx(values(other), abs=TOLERANCE)


def test_an_array_of_images(bundle, pairs):
    images = np.stack([np.asarray(rgb(path).resize((30, 20))) for path in pairs[1]])
    assert images.shape[1:] == (20, 30, 3)
    got = model(bundle, 1).predict(pairs[0], images)
    assert got == model(bundle, 1).predict(pairs[0], list(images))
    with pytest.raises(InputError, match="same length"):
        model(bundle, 1).predict(pairs[0][0], images[:1])


def test_an_empty_list_gives_no_predictions(bundle):
    assert model(bundle, 1).predict([], ()) == []


MISSING = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_missing_parts(bundle, pairs, missing):
    """Light accepts a pair without an image, but not without a text."""
    text, image = pairs[0][0], pairs[1][0]
    wanted = model(bundle, 1).predict(text)
    assert model(bundle, 1).predict(text, missing) == wanted
    assert model(bundle, 1).predict([text], [missing]) == [wanted]
    assert model(bundle, 1).predict([text], missing) == [wanted]
    column = pd.Series([str(image), missing])
    assert model(bundle, 1).predict([text, text], column)[1].label == wanted.label
    for texts, images in [
        (missing, image), ([text, missing], [image] * 2), (missing, [image, image]),
        (pd.Series([text, missing]), [image] * 2),
    ]:  # fmt: skip
        with pytest.raises(InputError, match="has no text"):
            model(bundle, 1).predict(texts, images)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (5, "the text must be a str, or None if it is missing, not int"),
        (2.5, "the text must be a str, or None if it is missing, not float"),
        (b"fine", "the text must be a str, or None if it is missing, not bytes"),
        (["fine"], "the text must be a str, or None if it is missing, not list"),
        (np.zeros((3, 3)), "the text must be a str, or None if it is missing, not ndarray"),
        ("half \ud83d", r"the text contains '\ud83d', which is not a character"),
    ],
    ids=repr,
)
def test_a_value_that_is_not_a_text_is_reported(bundle, pairs, text, reason):
    image = pairs[1][0]
    with pytest.raises(InputError) as error:
        model(bundle, 1).predict(["fine", text, "too", text], [image] * 4)
    assert f"row 1: {reason}" in str(error.value)
    assert f"row 3: {reason}" in str(error.value)
    assert "row 2" not in str(error.value)
    if not isinstance(text, list):
        with pytest.raises(InputError, match=re.escape(reason)):
            model(bundle, 1).predict(text, image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (5, "if it is missing, not int"),
        ({"name": "a.jpg"}, "if it is missing, not dict"),
        ({"content": "text"}, "if it is missing, not str"),
        (io.StringIO("text"), "the image can't be read from a text file"),
        (io.BytesIO(b"no image"), "the image can't be decoded"),
        (np.zeros((3, 3, 3)), "an image array must be uint8"),
        (np.zeros((3, 9, 9), np.uint8), "[height, width, 3 or 4], not [3, 9, 9]"),
        (np.zeros((0, 9, 3), np.uint8), "the image is empty (9 x 0 pixels)"),
        (Image.new("L", (0, 9)), "the image is empty (0 x 9 pixels)"),
        ("nul\0", "its name contains a NUL byte"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else type(value).__name__,
)
def test_a_value_that_is_not_an_image_is_reported(bundle, pairs, image, reason):
    sound = pairs[1][0]
    with pytest.raises(InputError) as error:
        model(bundle, 2).predict(["a", "b", "c"], [sound, image, image])
    assert {line[:8] for line in str(error.value).splitlines()[1:]} == {"  row 1:", "  row 2:"}
    assert str(error.value).count(reason) == 2
    with pytest.raises(InputError) as error:
        model(bundle, 1).predict("a", image)
    assert reason in str(error.value)


def test_a_closed_or_too_large_file_is_refused(bundle, tmp_path):
    closed = io.BytesIO(b"")
    closed.close()
    endless = open("/dev/zero", "rb") if Path("/dev/zero").exists() else None  # noqa: SIM115
    with pytest.raises(InputError, match="closed file"):
        model(bundle, 1).predict("a", closed)
    if endless:
        with endless, pytest.raises(InputError, match="larger than 65536 KiB"):
            model(bundle, 1).predict("a", endless)


def test_a_table_is_not_a_list(bundle, pairs):
    """Iterating over it gives the names of its columns."""
    table = pd.DataFrame({"text": pairs[0][:2], "image": pairs[1][:2]})
    with pytest.raises(InputError, match="DataFrame is not a list; pass one of its columns"):
        model(bundle, 1).predict(table, pairs[1][:2])


def test_a_table_of_predictions(bundle, pairs):
    """With the two lines from the documentation."""
    posts = pd.DataFrame({"text": pairs[0], "image": pairs[1]}, index=range(5, 5 + len(pairs[0])))
    several = model(bundle, 1).predict(posts["text"], posts["image"])
    table = pd.DataFrame([{"label": p.label, **p.probabilities} for p in several], posts.index)
    assert list(table.columns) == ["label", *SENTIMENTS]
    assert (table[list(SENTIMENTS)].idxmax(axis=1) == table["label"]).all()
    assert list(table.index) == list(posts.index)


def test_a_very_long_text_is_truncated(bundle, pairs, alone):
    image = pairs[1][-1]
    assert model(bundle, 1).predict("sad rain " * 1_000_000, image) == alone[-1]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6])
def test_threads_are_checked(bundle, threads):
    with pytest.raises(InputError, match=r"threads must be a whole number from 1 .* not "):
        SentimentModel(bundle, threads=threads)


def test_numpy_integers_are_accepted_as_threads(bundle):
    assert SentimentModel(bundle, threads=np.int64(2)).threads == 2


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "CPU", None, ["cpu"]])
def test_the_device_is_checked(bundle, device):
    with pytest.raises(InputError, match="device must be auto, cpu or cuda, not "):
        SentimentModel(bundle, device=device)


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_bundle_gives_the_same_prediction(bundle, pairs, alone, kind):
    source = FILES[kind](bundle)
    opened = SentimentModel(source, threads=1)
    close(source)
    assert opened.predict(pairs[0][0], pairs[1][0]) == alone[0]
    assert opened.identity == model(bundle, 1).identity


@pytest.mark.parametrize(
    "source",
    [5, None, io.StringIO("x"), {"content": b""}],
    ids=lambda source: type(source).__name__,
)
def test_not_a_bundle(source):
    with pytest.raises(InputError, match="bundle"):
        SentimentModel(source)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_prediction_does_not_depend_on_other_pairs(bundle, pairs, alone, data):
    """Alone, in any batch, in any order, on one thread or two."""
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


def test_every_bad_image_is_reported(bundle, pairs, tmp_path):
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


def test_a_model_trained_for_it_accepts_a_missing_image(bundle, pairs):
    """Light was. None means no image, for one pair or in a list."""
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


def test_a_missing_part_that_the_model_requires_is_refused(bundle, pairs):
    with pytest.raises(InputError, match=r"has no text.*not trained"):
        model(bundle, 1).predict(image=pairs[1][0])
    with pytest.raises(InputError, match=r"^row 1: the pair has no text"):
        model(bundle, 1).predict(text=["fine", None], image=pairs[1][:2])
    images = [pairs[1][0]] * 30 + [None]
    with pytest.raises(InputError) as error:
        model(bundle, 1).predict([None] * 31, images)
    first, second = str(error.value).splitlines()
    assert first.startswith("rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, ")
    assert "18, 19 and 10 others: the pair has no text" in first
    assert second == "row 30: the pair has neither text nor image"


def test_a_pair_without_text_and_image_is_refused(bundle):
    with pytest.raises(InputError, match="neither"):
        model(bundle, 1).predict()

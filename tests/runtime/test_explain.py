"""SentimentModel.explain on a model whose effects are known by construction."""

import itertools
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from mmsent import InputError, SentimentModel
from mmsent.inputs.image import MISSING
from mmsent.predict.explain import fonts
from mmsent.predict.explain.occlusion import MIN_BUDGET, explain_pair, log_odds
from mmsent.predict.explain.output import write_explanation
from mmsent.predict.explain.patches import smooth_map
from mmsent.predict.explain.words import find_words, read_words

from ..small_bundle import LABELS, SIZE, write_small_bundle

IDS = {"fun": 1, "rain": 2, "a": 3}  # ids of the small bundle's words; all others are 0
BOTH = ("text", "image")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small bundle that accepts pairs without a text or without an image."""
    return write_small_bundle(tmp_path_factory.mktemp("explain") / "model.onnx", optional=BOTH)


@pytest.fixture(scope="module")
def model(small):
    return SentimentModel(small, threads=1)


def odds(words, brightness):
    """The small bundle's log-odds of each label, from its formula."""
    total = sum(IDS.get(word, 0) for word in list(words)[:SIZE])
    z = np.array([-0.02 * brightness + 0.3 * total, -0.2 * total, 0.02 * brightness - 0.5 * total])
    p = np.exp(z) / np.exp(z).sum()
    return dict(zip(LABELS, np.log(p) - np.log1p(-p)))


def grey(value):
    return np.full((SIZE, SIZE, 3), value, np.uint8)


TEXTS = st.lists(st.sampled_from([*IDS, "else"]), max_size=12)


@given(words=TEXTS, value=st.integers(0, 255))
def test_modalities_have_their_shapley_values(model, words, value):
    """The mean over both orders; the two add up to the effect of both parts together."""
    found = model.explain(" ".join(words), grey(value), grid=2)

    def worth(present):
        return odds(words if "text" in present else [], value if "image" in present else MISSING)

    orders = list(itertools.permutations(BOTH))
    for part, label in itertools.product(BOTH, LABELS):
        gains = [
            worth({*order[: order.index(part) + 1]})[label]
            - worth({*order[: order.index(part)]})[label]
            for order in orders
        ]
        assert found.modalities[part][label] == pytest.approx(sum(gains) / len(orders), abs=1e-4)
    for label in LABELS:
        total = sum(found.modalities[part][label] for part in BOTH)
        assert total == pytest.approx(
            found.log_odds["both"][label] - found.log_odds["neither"][label], abs=1e-9
        )


@given(words=TEXTS, value=st.integers(0, 255))
def test_a_words_effect_is_the_change_without_it(model, words, value):
    """Only for words that the tokenizer does not truncate."""
    text = " ".join(words)
    found = model.explain(text, grey(value), grid=1)
    read = words[:SIZE]
    assert [word.text for word in found.words] == read
    assert text[: found.read].split() == read
    for place, word in enumerate(found.words):
        without = read[:place] + read[place + 1 :]
        loss = odds(read, value)[found.label] - odds(without, value)[found.label]
        assert word.value == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 3)])
def test_the_map_peaks_at_the_deciding_patch(model, row, column):
    pixels = grey(MISSING)
    pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 255
    found = model.explain("else", pixels, grid=4)
    assert found.label == "positive"
    regions = np.array(found.regions)
    assert np.unravel_index(regions.argmax(), regions.shape) == (row, column)
    left = pixels.copy()
    left[max(0, 2 * row - 1) : 2 * row + 3, max(0, 2 * column - 1) : 2 * column + 3] = MISSING
    loss = odds([], pixels.mean())["positive"] - odds([], left.mean())["positive"]
    assert regions[row, column] == pytest.approx(loss, abs=1e-4)
    far = regions[(row + 2) % 4, (column + 2) % 4]
    assert far == pytest.approx(0, abs=1e-5)


def test_it_explains_the_label_of_predict(model):
    found, prediction = model.explain("fun rain", grey(200)), model.predict("fun rain", grey(200))
    assert found.label == prediction.label
    assert found.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)


def test_a_missing_part_has_no_share(model):
    text_only, image_only = model.explain("fun rain"), model.explain(image=grey(9))
    assert text_only.regions is None
    assert image_only.words == ()
    assert set(text_only.modalities["image"].values()) == {0.0}
    assert set(image_only.modalities["text"].values()) == {0.0}


def test_pairs_that_predict_refuses_are_refused(tmp_path, model):
    strict = SentimentModel(write_small_bundle(tmp_path / "strict.onnx"), threads=1)
    for arguments, reason in (
        ({}, "neither text nor image"),
        ({"text": "fun"}, "has no image"),
        ({"image": grey(0)}, "has no text"),
    ):
        with pytest.raises(InputError, match=reason):
            strict.explain(**arguments)
    with pytest.raises(InputError, match="one pair"):
        model.explain(["fun"], [grey(0)])
    with pytest.raises(InputError, match="images that can't be used"):
        model.explain("fun", b"no image")


@pytest.mark.parametrize(
    ("optional", "foreign"),
    [
        ((), ("text", "image", "neither")),
        (("image",), ("image", "neither")),
        (("text",), ("text", "neither")),
        (BOTH, ("neither",)),
    ],
)
def test_inputs_unlike_the_training_data_are_reported(tmp_path, optional, foreign):
    path = write_small_bundle(tmp_path / "model.onnx", optional=optional)
    assert SentimentModel(path, threads=1).explain("fun", grey(3)).foreign == foreign


class Counting(SentimentModel):
    """Counts the computed pairs."""

    count = 0

    def run(self, ids, pixels):
        self.count += len(ids)
        return super().run(ids, pixels)


@pytest.fixture(scope="module")
def counting(small):
    return Counting(small, threads=1)


@given(
    words=st.lists(st.sampled_from([*IDS, "else"]), max_size=SIZE),
    budget=st.integers(MIN_BUDGET, 90),
    grid=st.integers(1, SIZE),
    has_image=st.booleans(),
)
def test_the_budget_is_never_exceeded(counting, words, budget, grid, has_image):
    counting.count = 0
    text = " ".join(words)
    found = counting.explain(text, grey(50) if has_image else None, grid=grid, budget=budget)
    assert counting.count == found.runs <= budget
    assert " ".join(word.text for word in found.words) == text
    if 4 + len(words) + grid * grid <= budget:
        assert len(found.words) == len(words)
        assert found.regions is None or len(found.regions) == grid


@pytest.mark.parametrize("arguments", [{"grid": 0}, {"grid": SIZE + 1}, {"budget": MIN_BUDGET - 1}])
def test_an_invalid_grid_or_budget_is_refused(model, arguments):
    with pytest.raises(InputError, match=f"the {next(iter(arguments))} must be"):
        model.explain("fun", grey(0), **arguments)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_nothing(bundle, batch_size):
    """With a trained model, which pads its texts."""
    opened = SentimentModel(bundle, threads=2)
    size = opened.info.image.size
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    how = {"image": opened.info.image, "optional": opened.info.optional}
    wanted = explain_pair(opened, "a happy day, sad rain", pixels, **how)
    found = explain_pair(opened, "a happy day, sad rain", pixels, batch_size=batch_size, **how)
    assert np.allclose(found.regions, wanted.regions, atol=1e-4)
    for one, other in zip(found.words, wanted.words, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t", []),
        ("what a day!", ["what", "a", "day!"]),
        ("  two\u3000words\u00a0here ", ["two", "words", "here"]),
        ("今日は good", ["今", "日", "は", "good"]),
        ("great👍🏽👍❤️day", ["great", "👍🏽👍❤️", "day"]),
        ("👨\u200d👩\u200d👧 home", ["👨\u200d👩\u200d👧", "home"]),
        ("#tag @you http://t.co/x", ["#tag", "@you", "http://t.co/x"]),
    ],
)
def test_definition_of_a_word(text, words):
    assert [text[word.start : word.end] for word in find_words(text)] == words


@given(st.text())
def test_words_and_the_gaps_between_them_make_up_the_text(text):
    words = find_words(text)
    edges = [0, *itertools.chain.from_iterable((word.start, word.end) for word in words), len(text)]
    assert edges == sorted(edges)
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert "".join(pieces) == text
    assert not "".join(pieces[::2]).strip()  # white space alone is not a word


def test_only_text_that_the_model_reads_has_words(model):
    """Not the words after the maximum length, nor those at the end that have no tokens."""
    text = "fun " * 20 + "rain"
    read, words = read_words(text, model.tokenize)
    assert len(words) == SIZE
    assert model.tokenize([read]) == model.tokenize([text])


def test_the_smooth_map_has_each_cells_value_at_its_centre():
    """Between centres it is linear, as in Pillow's bilinear interpolation."""
    regions = np.random.default_rng(1).normal(size=(3, 3))
    smooth = smooth_map(regions, 15, 15)
    assert np.allclose(smooth[2::5, 2::5], regions)
    enlarged = Image.fromarray(regions.astype(np.float32)).resize(
        (15, 15), Image.Resampling.BILINEAR
    )
    assert np.allclose(smooth, np.asarray(enlarged), atol=1e-6)


HOSTILE = "<script>alert(1)</script> \"quoted\" & 'so' <img src=http://e.x/a.png onerror=f()>"


class Page(HTMLParser):
    """A parser that collects what a page loads or runs, and its text."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.handlers, self.text = set(), [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_and_runs_nothing(model, tmp_path):
    found = model.explain(HOSTILE, grey(90), grid=3)
    write_explanation(found, tmp_path / "why.html")
    content = (tmp_path / "why.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(content)
    assert not page.tags & {"script", "link", "iframe", "object", "img", "form"}
    assert page.handlers == []
    assert all(address.startswith(("data:image/jpeg;", "#")) for address in page.addresses)
    assert "url(#hatch)" in content
    assert content.count("url(") == 1
    assert "@import" not in content
    for word in HOSTILE.split():
        assert word in page.text
    assert "not trained" not in page.text
    assert "What moved this prediction" in page.text


def test_the_page_shows_every_value_as_a_number(model, tmp_path):
    found = model.explain("fun rain a", grey(90), grid=3)
    write_explanation(found, tmp_path / "why.html")
    page = Page()
    page.feed((tmp_path / "why.html").read_text(encoding="utf-8"))
    values = [
        *(word.value for word in found.words),
        *itertools.chain.from_iterable(found.regions),
        *(value for shares in found.modalities.values() for value in shares.values()),
    ]
    for value in values:
        assert f"{value:+.2f}" in page.text or abs(value) < 0.005


def test_the_page_reports_inputs_unlike_the_training_data(tmp_path):
    strict = SentimentModel(write_small_bundle(tmp_path / "strict.onnx"), threads=1)
    write_explanation(strict.explain("fun", grey(3)), tmp_path / "why.html")
    assert "not trained on the text alone or the image alone" in (tmp_path / "why.html").read_text()


def test_json_has_all_numbers(model, tmp_path):
    found = model.explain("fun rain", grey(90), grid=2)
    write_explanation(found, tmp_path / "why.json")
    content = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert content == found.to_dict()
    assert content["label"] == found.label
    assert content["regions"] == [list(row) for row in found.regions]
    assert [word["text"] for word in content["words"]] == ["fun", "rain"]
    assert "view" not in content


@pytest.mark.parametrize("image", [None, grey(90), np.zeros((900, 3, 3), np.uint8)])
@pytest.mark.parametrize("text", ["", "fun " * 200, "x" * 300, "שלום עולם", HOSTILE])
def test_a_picture_can_be_drawn_of_any_pair(model, tmp_path, text, image):
    write_explanation(model.explain(text, image), tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1200
        assert len(picture.convert("L").getcolors()) > 20


def test_characters_without_a_font_are_escaped_and_reported(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_installed", list)
    write_explanation(model.explain("今 day", grey(90)), tmp_path / "why.png")
    assert "no installed font has 今" in caplog.text
    typeface = fonts.find_typeface("今a")
    assert typeface.width("今", 20) == typeface.width(r"\u4eca", 20)


def test_an_installed_font_supplies_missing_characters(monkeypatch, caplog):
    matplotlib = pytest.importorskip("matplotlib", reason="brings a font")
    path = next(iter((fonts.Path(matplotlib.get_data_path()) / "fonts/ttf").glob("DejaVuSans.ttf")))
    monkeypatch.setattr(fonts, "_installed", lambda: [path])
    typeface = fonts.find_typeface("a ⇶")
    assert typeface.others == {"⇶": path}
    assert caplog.text == ""


def test_a_character_and_its_marks_are_drawn_by_one_font(monkeypatch, caplog):
    matplotlib = pytest.importorskip("matplotlib", reason="brings a font")
    path = next(iter((fonts.Path(matplotlib.get_data_path()) / "fonts/ttf").glob("DejaVuSans.ttf")))
    monkeypatch.setattr(fonts, "_installed", lambda: [path])
    typeface = fonts.find_typeface("a x\u0301 \u2764\ufe0f")
    assert typeface.others["x\u0301"] == typeface.others["\u2764"] == path
    assert typeface.width("x\u0301", 20) == ImageFont.truetype(path, 20).getlength("x\u0301")
    assert caplog.text == ""


def test_marks_without_a_font_are_escaped_and_invisible_characters_left_out(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_installed", list)
    typeface = fonts.find_typeface("a\u200b\ufe0fb \u093e")
    assert typeface.width("a\u200b\ufe0fb", 20) == typeface.width("ab", 20)
    assert typeface.width("\u093e", 20) == typeface.width(r"\u093e", 20)
    assert "no installed font has \u093e:" in caplog.text


def test_other_suffixes_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"must end in .html, .png, .json"):
        write_explanation(model.explain("fun", grey(0)), tmp_path / "why.pdf")
    assert list(tmp_path.iterdir()) == []


def test_log_odds_stay_finite_where_a_probability_rounds_to_one():
    found = log_odds({"one": 200.0, "two": -200.0, "three": -300.0})
    assert found == pytest.approx({"one": 400, "two": -400, "three": -500})

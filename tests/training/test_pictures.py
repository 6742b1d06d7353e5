"""Pictures are legible whatever the labels, pairs and epochs."""

import io
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from PIL import Image

from mmsent.data.pair import Pair
from mmsent.inputs.image import ImageSettings
from mmsent_training.evaluation.metrics import score
from mmsent_training.evaluation.selective import coverage_curve
from mmsent_training.evaluation.tables import columns
from mmsent_training.fonts import drawn_labels, drawn_texts, find_fonts, points, wrap
from mmsent_training.loop import Epoch
from mmsent_training.pictures import (
    draw_ablation,
    draw_confusion,
    draw_coverage,
    draw_curves,
    draw_mistakes,
    draw_reliability,
    write_scores,
)
from mmsent_training.runs.report import Mistake
from mmsent_training.style import BLACK, BLUE, ORANGE, SMALL, save

LABELS = {
    "two": ("0", "1"),
    "three": ("negative", "neutral", "positive"),
    "two long": ("not a hateful post at all, really", "WWWWWWWWWWWWWWWWWWWWWWWWW"),
    "mathematics": tuple(f"${n}$ _^\\frac {{" for n in range(6)),
    "forty": tuple(f"a rather long name, {n}" if n % 2 else f"非仇恨言论{n}" for n in range(40)),
    "many": tuple(map(str, range(100))),
}


def scores_of(labels):
    generator = np.random.default_rng(0)
    true = np.tile(np.arange(len(labels)), 5)
    probabilities = generator.dirichlet(np.ones(len(labels)), len(true)).astype(np.float32)
    return score(true, probabilities, labels)


def coverage_of(labels):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(len(labels)), 200).astype(np.float32)
    return coverage_curve(generator.integers(0, len(labels), 200), probabilities)


def history(epochs):
    return [Epoch(n, 1 / n, 1.5 / n, 0.5, 0.4, 1e-3, 1.0) for n in range(1, epochs + 1)]


def encoded(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


STRETCH = ImageSettings(size=32)
SHAPES = (90, 60), (60, 90), (300, 30), (16, 16)
TEXTS = ("short", "word " * 60, "w" * 400, "今天天气真好" * 30, "$x$ & 🥰")


def mistakes(number, guid="{}", labels=LABELS["two long"]):
    rows = []
    for n in range(number):
        text = TEXTS[n % len(TEXTS)]
        pair = Pair(guid.format(n), labels[0], "list", n, text.encode(), encoded(*SHAPES[n % 4]))
        rows.append(Mistake(pair, text, labels[0], labels[1], 0.9))
    return rows


PICTURES = {
    **{f"{n} epochs": lambda n=n: draw_curves(history(n), n) for n in (1, 2, 100)},
    **{f"confusion, {name}": lambda name=name: draw_confusion(scores_of(LABELS[name]))
       for name in LABELS},
    "reliability": lambda: draw_reliability(scores_of(LABELS["three"])),
    "coverage": lambda: draw_coverage(coverage_of(LABELS["three"])),
    "ablation": lambda: draw_ablation(
        {seen: scores_of(LABELS["three"]) for seen in ("both", "text", "image")}
    ),
    "one mistake": lambda: draw_mistakes(mistakes(1), STRETCH),
    "twelve mistakes": lambda: draw_mistakes(mistakes(12, "an-endless-guid-" * 9 + "{}"), STRETCH),
}  # fmt: skip


SLOW = ("100 epochs", "confusion, many", "confusion, forty", "twelve mistakes")


@cache
def laid_out(name):
    """A picture, drawn once for all tests."""
    drawn = PICTURES[name]()
    FigureCanvasAgg(drawn).draw()
    return drawn


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PICTURES]
)
def figure(request):
    return laid_out(request.param)


def texts_of(figure):
    """All visible texts of a picture, without those at ticks outside the axes."""
    ticks = [
        (tick.label1, low <= tick.get_loc() <= high)
        for axes in figure.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for low, high in [sorted(axis.get_view_interval())]
        for tick in axis.get_major_ticks()
    ]
    hidden = {label for label, shown in ticks if not shown}
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in hidden
        and (text.axes is None or text.axes.axison or text in text.axes.texts)
    ]  # fmt: skip


def overlap(one, other):
    """Whether two boxes overlap by more than a fraction of a pixel."""
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    )


def test_no_text_overlaps_another(figure):
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    assert [
        (one, other)
        for (one, box), (other, other_box) in combinations(boxes, 2)
        if overlap(box, other_box)
    ] == []


def test_no_text_is_small(figure):
    assert min(text.get_fontsize() for text in texts_of(figure)) >= SMALL


def test_legends_cover_no_data(figure):
    parts = [figure, *figure.subfigs]
    legends = [legend.get_window_extent() for part in parts for legend in part.legends]
    assert not any(
        overlap(legend, axes.get_window_extent()) for legend in legends for axes in figure.axes
    )
    assert not any(axes.get_legend() for axes in figure.axes)


def test_axes_have_labels(figure):
    for axes in figure.axes:
        if axes.axison and axes.lines:
            assert axes.get_ylabel()
            assert axes.get_xlabel() or not axes.xaxis.get_tick_params()["labelbottom"]


def test_a_picture_has_a_bounded_size(figure):
    """A file is as large as its tight bounding box."""
    sides = figure.get_tightbbox().size * figure.dpi
    assert min(sides) > 300
    assert max(sides) < 2500


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_few_epochs_are_whole_numbers_inside_the_axes(epochs):
    for axes in draw_curves(history(epochs), 1).axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low < tick < high] == [*range(1, epochs + 1)]
        for line in axes.lines[:2]:
            assert (line.get_ydata() < axes.get_ylim()[1]).all()
            assert line.get_marker() in "os"


@pytest.mark.parametrize("name", LABELS)
def test_counts_are_inside_their_cells(name):
    axes = laid_out(f"confusion, {name}").axes[0]
    cell = axes.get_window_extent().width / len(LABELS[name])
    assert axes.texts or len(LABELS[name]) > 50
    for text in axes.texts:
        assert text.get_window_extent().width < cell
        assert text.get_window_extent().height < cell


def test_colours_differ_in_grey():
    def lightness(colour):
        return np.dot(to_rgb(colour), (0.299, 0.587, 0.114))

    shades = sorted(map(lightness, (BLACK, BLUE, ORANGE)))
    assert min(np.diff(shades)) > 0.2


def test_images_of_mistakes_keep_their_aspect_ratio():
    figure = draw_mistakes(mistakes(4), STRETCH)
    FigureCanvasAgg(figure).draw()
    images = [axes for axes in figure.axes if axes.images]
    shapes = [axes.get_window_extent().width / axes.get_window_extent().height for axes in images]
    assert shapes == pytest.approx([width / height for width, height in SHAPES], rel=0.02)


def written(figure):
    return [line for text in texts_of(figure) for line in text.get_text().split("\n")]


@pytest.mark.parametrize(
    ("image", "said"), [(None, "no image"), (b"GIF89a", "the image can't be read")]
)
def test_a_mistake_says_which_part_is_missing(image, said):
    pair = Pair("7", "yes", "list", 1, None, image)
    shown = written(draw_mistakes([Mistake(pair, "", "yes", "no", 0.87)], STRETCH))
    assert {said, "guid: 7", "true: yes", "predicted: no (0.87)", "no text"} <= {*shown}


def test_drawing_does_not_change_matplotlibs_settings(tmp_path):
    before = dict(rcParams)
    write_scores(tmp_path, scores_of(LABELS["two"]))
    save(draw_mistakes(mistakes(2), STRETCH), tmp_path / "mistakes.png")
    assert dict(rcParams) == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "confusion.png", "reliability.png", "mistakes.png"
    }  # fmt: skip


VISIBLE = st.text(st.characters(exclude_categories=["C", "Z"]))


@given(st.lists(VISIBLE, unique=True), st.just(20))
def test_drawn_labels_are_short_and_different(labels, width):
    with drawn_labels(labels, width) as names:
        assert len(names) == len(labels)
        assert len(set(names)) == len(names)
        assert all(columns(name) <= width for name in names)
        assert not find_fonts(frozenset("".join(names)))[1]


@example(["\N{DOUBLE CURLY LOOP}"], 1)  # only in the bold file of DejaVu Sans Mono
@given(st.lists(VISIBLE, max_size=12), st.integers(1, 4))
def test_wrapped_lines_fit_and_mark_omissions(words, lines):
    with drawn_texts([" ".join(words)]) as (text,):
        wrapped = wrap(text, 120, 9, lines)
        assert all(points(line, 9) <= 120 for line in wrapped.split("\n"))
        assert len(wrapped.split("\n")) <= lines
        kept = "".join(wrapped.split())
        if kept != "".join(text.split()):
            assert kept.endswith("…")
            assert "".join(text.split()).startswith(kept[:-1])


def test_a_missing_character_is_taken_from_another_font():
    usual = get_font(findfont(FontProperties()))
    char = chr(next(c for c in get_font(findfont("STIXGeneral")).get_charmap() if c > 127
                    and not usual.get_char_index(c)))  # fmt: skip
    fonts, lacking = find_fonts(frozenset(f"a{char}"))
    assert not lacking
    (font,) = fonts
    assert get_font(findfont(font)).get_char_index(ord(char))
    with drawn_labels([char], 9) as names:
        assert names == [char]


def test_a_warning_names_only_a_few_characters_without_a_font(caplog):
    unassigned = [chr(0x50000 + n) for n in range(30)]
    with drawn_labels(unassigned, 12) as names:
        assert names[0] == r"\U00050000"
    (first, _) = caplog.messages
    assert first.endswith(f" {unassigned[9]} and 20 others")

"""A page of pairs: images, texts and models' predictions, in one file that loads nothing else."""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from mmsent.data.pair import Pair
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.console import readable
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.image import ImageSettings, load_view
from mmsent.predict.explain.html import document

EDGE, QUALITY = 384, 80
"""An image's longer edge in pixels at most, and its quality as JPEG: about 20 KB each."""
SHOWN_TEXT = 400  # characters
LONG_TABLE = 24  # rows
SHOWN_LABELS = 4

_STYLE = """
body { max-width: 76rem; } h2 { margin-top: 2.5rem; } h2, li { overflow-wrap: anywhere; }
td { vertical-align: top; } td:last-child, th:last-child { padding-right: 0; }
.scroll table { white-space: nowrap; } .scroll .left { text-align: left; }
.scroll { margin: .8rem 0; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
  gap: 1rem; margin-top: 1rem; }
.pair { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: .5rem;
  overflow: hidden; }
.picture { height: 13rem; display: grid; place-items: center; border-bottom: 1px solid var(--line);
  background: rgb(128 128 128 / .12); }
.picture img { width: 100%; height: 13rem; object-fit: contain; }
.said { padding: .7rem .8rem; overflow-wrap: anywhere; }
.said .text { white-space: pre-wrap; margin: 0 0 .5rem; }
.answers { width: 100%; margin-top: .5rem; } .answers tr:last-child > * { border-bottom: 0; }
.answers td { text-align: left; } .answers td.number { text-align: right; white-space: nowrap; }
.answers .bar { width: 30%; min-width: 2.5rem; vertical-align: middle; }
.answers th { white-space: nowrap; width: 1%; vertical-align: top; }
.right .mark { color: rgb(var(--for)); } .wrong .mark { color: rgb(var(--against)); }
.right .bar span { background: rgb(var(--for)); }
.wrong .bar span { background: rgb(var(--against)); }
tr.wrong > td, tr.right > td { font-weight: 600; } tr > td.number { font-weight: inherit; }
@media (max-width: 40rem) { .scroll table { font-size: .875rem; }
  .scroll th, .scroll td { padding-right: .45rem; }
  .scroll td.left { white-space: normal; } }
nav ul { padding-left: 1.2rem; margin: .5rem 0; } a { color: inherit; }
"""


@dataclass(frozen=True)
class Answer:
    """A model's prediction for a pair; ``name`` identifies the model on the page.

    ``probabilities``: of each label, or None if they are unknown.
    """

    name: str
    label: str
    probabilities: Mapping[str, float] | None


@dataclass(frozen=True)
class Card:
    """A pair on a page: its true label, and the answers."""

    pair: Pair
    label: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Section:
    """Some pairs of a page, the first of ``total``, below a title."""

    title: str
    cards: Sequence[Card]
    total: int


def check_page_name(path: Path) -> None:
    """Raise InputError if ``path`` is not a valid name for a page."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is a file that ends in .html")


def write_page(path: Path, title: str, introduction: str, sections: Sequence[Section]) -> None:
    """Write a page, UTF-8, that adapts to light, dark and narrow screens and runs no script.

    ``introduction`` is HTML. Everything that comes from the pairs is escaped. A text or an image
    that can't be read is named as such.
    """
    cards = [card for section in sections for card in section.cards]
    with (
        Progress("writing the page", len(cards), "pairs", summary=False) as progress,
        ThreadPoolExecutor(available_cores()) as pool,
    ):

        def render(card: Card) -> str:
            html = _card(card)
            progress.update()
            return html

        rendered = iter([*pool.map(render, cards)])
    parts = [introduction]
    if len(sections) > 1:
        links = "".join(
            f'<li><a href="#section{number}"><bdi>{escape(each.title)}</bdi></a>: {each.total}</li>'
            for number, each in enumerate(sections, 1)
        )
        parts.append(f'<nav aria-label="pairs"><ul>{links}</ul></nav>\n')
    for number, each in enumerate(sections, 1):
        shown = "".join(next(rendered) for _ in each.cards)
        count = f"{each.total} pairs" if each.total != 1 else "1 pair"
        if len(each.cards) < each.total:
            count += f", of which {len(each.cards)} are shown"
        parts.append(
            f'<section><h2 id="section{number}"><bdi>{escape(each.title)}</bdi></h2>\n'
            f'<p class="quiet">{count}</p>\n<div class="pairs">{shown}</div></section>\n'
        )
    body = f"<h1>{escape(title)}</h1>\n{''.join(parts)}"
    with atomic_path(path) as part:
        part.write_text(readable(document(escape(title), _STYLE, body)), encoding="utf-8")


def html_table(title: str, rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table with a title; its first row is the header, and the first cell of a row is its name.

    The first ``left`` columns are left-aligned, the others right-aligned. A long table is folded.
    """
    sides = [' class="left"' if place < left else "" for place in range(len(rows[0]))]
    safe = [[f"<bdi>{escape(cell)}</bdi>" if cell else "" for cell in row] for row in rows]
    columns = "".join(
        f'<th scope="col"{side}>{cell}</th>' if cell else "<td></td>"
        for side, cell in zip(sides, safe[0])
    )
    lines = "".join(
        f'<tr><th scope="row">{first}</th>'
        f"{''.join(f'<td{side}>{cell}</td>' for side, cell in zip(sides[1:], others))}</tr>\n"
        for first, *others in safe[1:]
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{columns}</tr></thead>\n'
        f"<tbody>{lines}</tbody></table></div>\n"
    )
    if len(rows) > LONG_TABLE:
        table = f"<details><summary>{len(rows) - 1} rows</summary>\n{table}</details>\n"
    return f"<h2>{escape(title)}</h2>\n{table}"


def _card(card: Card) -> str:
    answers = _labels(card) if len(card.answers) == 1 else _answers(card)
    return (
        f'<article class="pair"><div class="picture">{_picture(card.pair)}</div>'
        f'<div class="said">{_text(card.pair)}'
        f'<p class="quiet">guid <bdi>{escape(card.pair.guid)}</bdi></p>'
        f'<table class="answers"><tbody>{answers}</tbody></table></div></article>\n'
    )


def _answers(card: Card) -> str:
    """The true label, and each model's answer with its probability."""
    rows = [
        f'<tr><th scope="row">true</th><td><bdi>{escape(card.label)}</bdi></td>'
        '<td class="number"></td></tr>'
    ]
    for answer in card.answers:
        values = answer.probabilities
        number = "" if values is None else f"{values[answer.label]:.1%}"
        rows.append(
            f'<tr class="{_right(card, answer)}"><th scope="row">{escape(answer.name)}</th>'
            f"<td>{_mark(card, answer)} <bdi>{escape(answer.label)}</bdi></td>"
            f'<td class="number">{number}</td></tr>'
        )
    return "".join(rows)


def _labels(card: Card) -> str:
    """One model's most probable labels and the true one, with their probabilities."""
    (answer,) = card.answers
    values = answer.probabilities or {answer.label: 1.0}
    ranked = sorted(values, key=lambda label: -values[label])
    shown = ranked[:SHOWN_LABELS]
    if card.label not in shown:
        shown[SHOWN_LABELS - 1 :] = [card.label]
    rows = []
    for label in shown:
        side, mark = "", ""
        if label == answer.label:
            side, mark = _right(card, answer), _mark(card, answer)
        elif label == card.label:
            mark = "<small>true</small>"
        value = values.get(label, 0.0)
        rows.append(
            f'<tr class="{side}"><td><bdi>{escape(label)}</bdi> {mark}</td>'
            f'<td class="number">{value:.1%}</td>'
            f'<td class="bar"><span style="width:{100 * value:.1f}%"></span></td></tr>'
        )
    return "".join(rows)


def _right(card: Card, answer: Answer) -> str:
    return "right" if answer.label == card.label else "wrong"


def _mark(card: Card, answer: Answer) -> str:
    said = _right(card, answer)
    sign = "✓" if said == "right" else "✗"
    return f'<span class="mark" role="img" aria-label="{said}">{sign}</span>'


def _text(pair: Pair) -> str:
    text = pair.attempt("text", pair.read_text)
    if not isinstance(text, str):
        return '<p class="quiet">the text can\'t be read</p>'
    if not text.strip():
        return '<p class="quiet">no text</p>'
    more = f"… ({len(text)} characters)" if len(text) > SHOWN_TEXT else ""
    return f'<p class="text" dir="auto">{escape(text.strip()[:SHOWN_TEXT])}{more}</p>'


def _picture(pair: Pair) -> str:
    if pair.lacks("image"):
        return '<span class="quiet">no image</span>'
    whole = ImageSettings()  # which crop nothing
    view = pair.attempt("image", lambda: load_view(pair.read("image"), whole, EDGE))
    if not isinstance(view, Image.Image):
        return '<span class="quiet">the image can\'t be read</span>'
    file = io.BytesIO()
    view.save(file, "JPEG", quality=QUALITY)
    data = b64encode(file.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{view.width}" height="{view.height}" '
        f'alt="the image of {escape(pair.guid)}">'
    )

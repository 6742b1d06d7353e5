"""An explanation as a page: one file that loads nothing and runs no script."""

import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape

from mmsent.predict.explain.explanation import Explanation
from mmsent.predict.explain.patches import smooth_map
from mmsent.predict.explain.rendering import (
    CAUTION,
    FINE,
    MODALITIES,
    TITLE,
    UNIT,
    WORDS,
    legend,
    notes,
    scale,
    signed,
    strongest_cells,
)

UNREAD = 300  # shown characters of the text that the model doesn't read

LOOK = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1b1b; --quiet: #595959; --line: #d0d0d0;
  --bar: #8a8a8a; --for: 0 98 168; --against: 190 70 0; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --ink: #ececec; --quiet: #a8a8a8;
  --line: #3d4045; --bar: #85888d; --for: 105 180 245; --against: 255 150 80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .quiet { color: var(--quiet); font-size: .875rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); }
tbody th { font-weight: inherit; } th:first-child { text-align: left; overflow-wrap: break-word; }
.bar span { display: block; height: .8rem; background: var(--bar); }
.scroll { overflow-x: auto; } tr > :last-child { padding-right: 0; }
@media (max-width: 30rem) { table { font-size: .85rem; } th, td { padding-right: .4rem; } }
summary { cursor: pointer; margin: 1rem 0 .5rem; }
"""
"""The style that all pages which are files share."""

_STYLE = """
tr.predicted { font-weight: 700; }
.labels { width: 100%; } .labels .bar { width: 45%; min-width: 1.5rem; }
.predicted .bar span { background: rgb(var(--for)); }
.sides { display: grid; grid-template-columns: auto 1fr auto; gap: .3rem .7rem;
  align-items: center; margin: .5rem 0; }
.track { position: relative; height: 1.1rem;
  background: linear-gradient(var(--ink), var(--ink)) center / 1px 100% no-repeat; }
.track span { position: absolute; top: .1rem; bottom: .1rem; }
.for { --hue: var(--for); } .against { --hue: var(--against); }
.track .for { left: 50%; background: rgb(var(--for)); }
.track .against { right: 50%; border: 1px solid rgb(var(--against));
  background: repeating-linear-gradient(135deg, rgb(var(--against)) 0 3px, transparent 3px 6px); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.3; font-size: 1.05rem; }
.word { display: inline-block; max-width: 100%; text-align: center; vertical-align: top;
  margin: .1rem 0; }
.word > span { display: block; padding: 0 .15rem; unicode-bidi: plaintext;
  background: rgb(var(--hue) / calc(var(--strength) * .45));
  border-bottom: calc(1px + var(--strength) * 4px) solid rgb(var(--hue)); }
.word.against > span { border-bottom-style: dashed; }
.word small { display: block; padding: 0 .15rem; direction: ltr; font-size: .7rem;
  color: var(--quiet); font-variant-numeric: tabular-nums; }
.unread { color: var(--quiet); text-decoration: line-through; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .875rem; color: var(--quiet); }
.map use { filter: grayscale(1); }
svg { display: block; width: 100%; height: auto; max-height: 32rem; }
svg .for { fill: rgb(0 98 168); } svg .against { fill: url(#hatch); }
svg .mark { fill: none; stroke: #fff; } svg .mark.under { stroke: #000; }
svg text { font-weight: 700; fill: #fff; stroke: #000; stroke-width: .2em; paint-order: stroke;
  text-anchor: middle; dominant-baseline: central; }
"""


def to_html(explanation: Explanation) -> str:
    """The page, UTF-8. It adapts to light, dark and narrow screens, and works without colour.

    Everything that comes from the pair or the bundle is escaped.
    """
    label = escape(explanation.label)
    probability = explanation.probabilities[explanation.label]
    sections = [_labels(explanation), _modalities(explanation)]
    if explanation.text:
        sections.append(_words(explanation))
    if explanation.regions is not None:
        sections.append(_regions(explanation, explanation.regions))
    sections.append(_numbers(explanation))
    lines = "\n".join(f'<p class="quiet">{escape(note)}</p>' for note in notes(explanation))
    return document(
        f"{TITLE}: {label}",
        _STYLE,
        f"""<h1>{TITLE}: <bdi>{label}</bdi>, {probability:.1%}</h1>
<p class="quiet">{CAUTION} {UNIT}</p>
{"".join(sections)}
{lines}
""",
    )


def document(title: str, style: str, body: str) -> str:
    """A page that loads nothing and runs no script. All three are HTML and CSS: escaped.

    ``style`` comes after `LOOK`.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{LOOK}{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def _labels(explanation: Explanation) -> str:
    rows = []
    for label, value in explanation.probabilities.items():
        chosen = ' class="predicted"' if label == explanation.label else ""
        shares = (explanation.modalities[part][label] for part in ("text", "image"))
        cells = "".join(f"<td>{signed(share)}</td>" for share in shares)
        rows.append(
            f'<tr{chosen}><th scope="row"><bdi>{escape(label)}</bdi></th><td>{value:.1%}</td>'
            f'<td class="bar"><span style="width:{100 * value:.1f}%"></span></td>{cells}</tr>'
        )
    return (
        '<h2>Labels</h2>\n<div class="scroll"><table class="labels"><thead><tr>'
        '<th scope="col">label</th><th scope="col">probability</th><td></td>'
        '<th scope="col">text</th><th scope="col">image</th></tr></thead>\n<tbody>'
        f"{''.join(rows)}</tbody></table></div>\n"
    )


def _modalities(explanation: Explanation) -> str:
    values = {part: value[explanation.label] for part, value in explanation.modalities.items()}
    largest = scale([*values.values()])
    rows = (
        f'<span>{part}</span><span class="track"><span class="{_side(value)}" '
        f'style="width:{50 * abs(value) / largest:.1f}%"></span></span>'
        f"<span>{signed(value)}</span>"
        for part, value in values.items()
    )
    return (
        f"<h2>Text and image, for <bdi>{escape(explanation.label)}</bdi></h2>\n"
        f'<div class="sides">{"".join(rows)}</div>\n'
        f'<p class="quiet">{MODALITIES}</p>\n'
    )


def _words(explanation: Explanation) -> str:
    largest = scale([word.value for word in explanation.words])
    text, parts, place = explanation.text, [], 0
    for word in explanation.words:
        parts.append(escape(text[place : word.start]))
        parts.append(
            f'<span class="word {_side(word.value)}" '
            f'style="--strength:{abs(word.value) / largest:.2f}">'
            f"<span>{escape(word.text)}</span><small>{signed(word.value)}</small></span>"
        )
        place = word.end
    parts.append(escape(text[place : explanation.read]))
    rest = text[explanation.read :]
    if rest.strip():
        more = "…" if len(rest) > UNREAD else ""
        parts.append(f'<span class="unread">{escape(rest[:UNREAD])}{more}</span>')
    return (
        f'<h2>Words</h2>\n<p class="text" dir="auto">{"".join(parts)}</p>\n'
        f'<p class="quiet">{WORDS}</p>\n'
    )


def _regions(explanation: Explanation, regions: Sequence[Sequence[float]]) -> str:
    view = explanation.view
    width, height = view.size if view is not None else (512, 512)
    frame = f'viewBox="0 0 {width} {height}"'
    photo = ""
    if view is not None:
        file = io.BytesIO()
        view.save(file, "JPEG", quality=85)
        data = b64encode(file.getvalue()).decode()
        photo = (
            f'<figure><svg {frame} role="img" aria-label="The image"><image id="photo" '
            f'width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/></svg>'
            "<figcaption>What the model sees</figcaption></figure>\n"
        )
    said = "; ".join(
        f"row {cell.row + 1}, column {cell.column + 1}: {signed(cell.value)}"
        for cell in strongest_cells(regions)
    )
    shapes = "".join((*_heat(regions, width, height), *_marks(regions, width, height)))
    return (
        f'<h2>Regions of the image</h2>\n<div class="pictures">{photo}'
        f'<figure class="map"><svg {frame} role="img" '
        f'aria-label="The map. Strongest: {said or "none"}">'
        '<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="8" height="8" fill="#e06000" opacity=".45"/>'
        '<rect width="4" height="8" fill="#e06000"/></pattern></defs>'
        f'<use href="#photo"/>{shapes}</svg><figcaption>{legend(regions)}</figcaption></figure>'
        "</div>\n"
    )


def _heat(regions: Sequence[Sequence[float]], width: int, height: int) -> Iterator[str]:
    """The smooth map: a grid of rectangles; strong values are more opaque."""
    count = FINE * len(regions)
    values = smooth_map(regions, count, count)
    largest = scale([value for row in regions for value in row])
    across, down = width / count, height / count
    yield '<g shape-rendering="crispEdges">'
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            opacity = 0.75 * abs(value) / largest
            if opacity >= 0.02:
                yield (
                    f'<rect class="{_side(value)}" x="{column * across:.1f}" y="{row * down:.1f}" '
                    f'width="{across:.1f}" height="{down:.1f}" opacity="{opacity:.2f}"/>'
                )
    yield "</g>"


def _marks(regions: Sequence[Sequence[float]], width: int, height: int) -> Iterator[str]:
    across, down = width / len(regions), height / len(regions)
    size = min(24, 0.7 * across, 0.7 * down)
    for rank, cell in enumerate(strongest_cells(regions), 1):
        x, y = cell.column * across, cell.row * down
        dash = "" if cell.value > 0 else ' stroke-dasharray="8 5"'
        box = f'x="{x:.1f}" y="{y:.1f}" width="{across:.1f}" height="{down:.1f}"'
        yield f'<rect class="mark under" {box} stroke-width="{8 - rank}"{dash}/>'
        yield f'<rect class="mark" {box} stroke-width="{5 - rank}"{dash}/>'
        middle = f'x="{x + across / 2:.1f}" y="{y + down / 2:.1f}"'
        yield f'<text {middle} font-size="{size:.1f}">{rank}</text>'


def _numbers(explanation: Explanation) -> str:
    labels = "".join(f'<th scope="col">{escape(label)}</th>' for label in explanation.probabilities)
    names = {"both": "text and image", "text": "text", "image": "image", "neither": "neither"}
    odds = "".join(
        f'<tr><th scope="row">{names[name]}{" (foreign)" if name in explanation.foreign else ""}'
        f"</th>{''.join(f'<td>{signed(value)}</td>' for value in values.values())}</tr>"
        for name, values in explanation.log_odds.items()
    )
    tables = (
        '<div class="scroll"><table><caption>Log-odds of each label, by input</caption><thead>'
        f'<tr><th scope="col">input</th>{labels}</tr></thead><tbody>{odds}</tbody></table></div>'
    )
    if explanation.regions is not None:
        rows = "".join(
            f'<tr><th scope="row">{place}</th>'
            f"{''.join(f'<td>{signed(value)}</td>' for value in row)}</tr>"
            for place, row in enumerate(explanation.regions, 1)
        )
        tables += (
            '<div class="scroll"><table><caption>Regions, by row from the top</caption>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    return f"<details><summary>The numbers behind it</summary>{tables}</details>\n"


def _side(value: float) -> str:
    return "for" if value >= 0 else "against"

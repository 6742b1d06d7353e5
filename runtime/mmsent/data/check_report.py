"""A check as text for a terminal: problems first, then the contents of the dataset."""

import textwrap
from collections.abc import Iterator, Mapping

from mmsent.data.check import Check
from mmsent.errors import MAX_LINES, summarize
from mmsent.files.progress import counted

_WIDTH = 80
_TITLE = 18  # columns of a table's title
_LABEL = 40  # columns of a label at most, so that its figures stay visible


def describe(check: Check, *, every: bool = False) -> str:
    """The check as lines of text; ``every``: one line for each problem."""
    lines = []
    grouped = False
    for kind, problems in (("error", check.errors), ("warning", check.warnings)):
        shown = [str(problem) for problem in problems] if every else summarize(problems)
        lines += [f"{kind}: {line}" for line in shown]
        grouped = grouped or len(shown) < len(problems)
    if grouped:
        lines.append("--all prints every one")
    if lines:
        lines.append("")
    for title, values in _facts(check):
        wrapped = [line for value in values for line in textwrap.wrap(value, _WIDTH - _TITLE)]
        lines += [
            f"{name:<{_TITLE}}{line}" for name, line in zip([title, *[""] * len(wrapped)], wrapped)
        ]
    lines += ["", _verdict(check)]
    return "\n".join(lines)


def _facts(check: Check) -> Iterator[tuple[str, list[str]]]:
    """The contents of the dataset: titles, each with one or more values."""
    yield "taken for", [check.layout]
    if check.validation_layout:
        yield "  for validation", [check.validation_layout]
    yield "rows", [_list(check.lists)]
    yield "used for", _uses(check)
    if check.labels:
        yield "labels", _labels(check.labels)
    if check.validation_labels:
        yield "  for validation", _labels(check.validation_labels)
    if prospects := check.prospects:
        label = _shorten(prospects.most_frequent)
        yield "baseline", [f"accuracy {prospects.baseline:.3f} by always predicting {label}"]
        pairs = counted(prospects.validation, "pairs")
        margin = f"± {prospects.margin:.3f} (95 % interval)"
        yield "certainty", [f"accuracy on {pairs} has a margin of {margin}"]
    repeats = {kind: found.pairs for kind, found in check.repeats.items() if found.pairs}
    yield "repeated pairs", [_list(repeats) if repeats else "none"]
    trained_on = {kind: each.trained_on for kind, each in check.repeats.items() if each.trained_on}
    if trained_on:
        yield "  also trained on", [_list(trained_on)]
    if check.lacking:
        yield "pairs without", [_list(check.lacking)]
    for title, counts in (
        ("text encodings", check.encodings),
        ("image formats", check.image_formats),
        ("words per text", check.words),
        ("image widths", check.widths),
        ("image heights", check.heights),
    ):
        if counts:
            yield title, [_list(counts)]
    if letters := sum(check.scripts.values()):
        shares = [f"{name} {_percent(count, letters)}" for name, count in check.scripts.items()]
        yield "scripts", [", ".join(shares[:6]) + (", …" if len(shares) > 6 else "")]
    if tokens := check.tokens:
        unknown = _percent(tokens["unknown"], tokens["all"])
        mostly = f"{tokens['mostly_unknown_texts']} of {tokens['texts']} texts are mostly unknown"
        yield "tokens", [f"{tokens['all']}, {unknown} of them unknown; {mostly}"]


def _uses(check: Check) -> list[str]:
    if not check.labels and any(not problem.line for problem in check.errors):
        return ["nothing until the errors are fixed"]
    if not check.labels:
        return ["prediction: no row has a label to train on"]
    if not (prospects := check.prospects):
        return ["training, once the errors are fixed"]
    source = "set aside from them" if prospects.drawn else "others"
    train = counted(prospects.train, "pairs")
    return [f"training on {train}; validation on {prospects.validation} {source}"]


def _labels(counts: Mapping[str, int]) -> list[str]:
    """A line for each label with its share; if there are many, one line for the rarest."""
    total = sum(counts.values())
    shown = list(counts.items())
    if len(shown) > MAX_LINES:
        frequent = sorted(shown, key=lambda item: -item[1])[: MAX_LINES - 1]
        shown = [item for item in shown if item in frequent]
        rest = total - sum(count for _, count in shown)
        shown.append((f"{len(counts) - len(shown)} others", rest))
    names = [_shorten(name) for name, _ in shown]
    width, digits = max(map(len, names)), len(str(max(count for _, count in shown)))
    return [
        f"{name:<{width}}  {count:>{digits}}  {_percent(count, total):>7}"
        for name, (_, count) in zip(names, shown)
    ]


def _shorten(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"


def _verdict(check: Check) -> str:
    if not check.errors and not check.warnings:
        return f"nothing is wrong with {check.folder}"
    errors = counted(len(check.errors), "errors")
    return f"{errors}, {counted(len(check.warnings), 'warnings')} in {check.folder}"


def _list(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in counts.items())


def _percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.1f} %"

"""A comparison as a page: its tables, and the pairs that only some contenders get right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from mmsent.data.pair import Pair
from mmsent_training.evaluation.comparison.compare import Aligned, Comparison
from mmsent_training.evaluation.comparison.contenders import Contender, Source, find_pairs
from mmsent_training.evaluation.comparison.text import (
    CAUTION,
    class_difference_rows,
    class_rows,
    contender_rows,
    difference_rows,
    fact_rows,
    score_rows,
    verdict,
)
from mmsent_training.evaluation.page import Answer, Card, Section, html_table, write_page

Winners = tuple[bool, ...]
"""Which of the contenders are right."""


def write_comparison(
    path: Path, comparison: Comparison, aligned: Aligned, source: Source, limit: int
) -> None:
    """Write the page, with at most ``limit`` pairs for each set of contenders that are right.

    Raises InputError if the pairs' texts and images are not in ``source``.
    """
    groups = _differing(aligned)
    shown = {winners: _most_confident(aligned, rows)[:limit] for winners, rows in groups.items()}
    rows = [row for each in shown.values() for row in each]
    pairs = find_pairs(
        source, {aligned.guids[row]: aligned.labels[aligned.true[row]] for row in rows}
    )
    sections = [
        Section(
            _title(winners, aligned.contenders),
            [_card(aligned, row, pairs) for row in rows],
            len(groups[winners]),
        )
        for winners, rows in shown.items()
    ]
    title = f"Comparison on {comparison.pairs} pairs"
    write_page(path, title, _introduction(comparison), sections)


def _differing(aligned: Aligned) -> dict[Winners, list[int]]:
    """The pairs that only some contenders get right, by the contenders that are right."""
    right = np.stack([predicted == aligned.true for predicted in aligned.predicted], axis=1)
    groups: dict[Winners, list[int]] = {}
    for row, winners in enumerate(map(tuple, right.tolist())):
        if 0 < sum(winners) < len(winners):
            groups.setdefault(winners, []).append(row)
    order = sorted(groups, key=lambda winners: (sum(winners), [not each for each in winners]))
    return {winners: groups[winners] for winners in order}


def _most_confident(aligned: Aligned, rows: Sequence[int]) -> list[int]:
    """``rows`` sorted by the largest probability of a wrong label, the largest first."""

    def confidence(row: int) -> float:
        return max(
            0.0 if values is None else float(values[row, predicted[row]])
            for values, predicted in zip(aligned.probabilities, aligned.predicted)
            if predicted[row] != aligned.true[row]
        )

    return sorted(rows, key=lambda row: -confidence(row))


def _title(winners: Winners, contenders: Sequence[Contender]) -> str:
    names = _names(contenders)
    right = [name for name, wins in zip(names, winners) if wins]
    wrong = [name for name, wins in zip(names, winners) if not wins]
    if len(right) == 1:
        return f"Only {right[0]} is right"
    verb = "is" if len(wrong) == 1 else "are"
    return f"{_listed(right)} are right, {_listed(wrong)} {verb} wrong"


def _names(contenders: Sequence[Contender]) -> list[str]:
    """Each contender's letter and file name, with its folder if several have the same name."""
    counts = Counter(each.path.name for each in contenders)
    places = (
        each.path.name if counts[each.path.name] == 1 else str(Path(*each.path.parts[-2:]))
        for each in contenders
    )
    return [f"{each.letter} ({place})" for each, place in zip(contenders, places)]


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _card(aligned: Aligned, row: int, pairs: Mapping[str, Pair]) -> Card:
    answers = [
        Answer(
            each.letter,
            aligned.labels[predicted[row]],
            None if values is None else dict(zip(aligned.labels, values[row].tolist())),
        )
        for each, predicted, values in zip(
            aligned.contenders, aligned.predicted, aligned.probabilities
        )
    ]
    return Card(pairs[aligned.guids[row]], aligned.labels[aligned.true[row]], answers)


def _introduction(comparison: Comparison) -> str:
    verdicts = [verdict(two) for two in comparison.pairwise]
    if len(verdicts) > 1:
        verdicts.append(CAUTION)
    seen = [f"{each.letter}: {each.overlap}" for each in comparison.contenders if each.overlap]
    parts = [
        html_table("Compared", contender_rows(comparison), left=3),
        *(f'<p class="quiet">{escape(line)}</p>\n' for each in seen for line in each.splitlines()),
        html_table("Scores, with 95 % intervals", score_rows(comparison)),
        html_table("Differences, with paired 95 % intervals", difference_rows(comparison), left=2),
        *(f'<p class="quiet">{escape(line)}</p>\n' for line in verdicts),
        html_table("Labels", class_rows(comparison), left=2),
        html_table(
            "Differences by label, with paired 95 % intervals",
            class_difference_rows(comparison),
            left=2,
        ),
    ]
    if comparison.facts:
        parts.append(
            html_table(
                "Settings and data that differ",
                fact_rows(comparison),
                left=len(comparison.contenders) + 1,
            )
        )
    parts.append(
        "<h2>The pairs that they differ on</h2>\n"
        '<p class="quiet">In each group, the most confident wrong answers come first.</p>\n'
    )
    return "".join(parts)

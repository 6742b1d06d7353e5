"""A comparison as text, for a terminal; the page has the same tables."""

from collections.abc import Mapping, Sequence

from mmsent.files.progress import counted
from mmsent_training.evaluation.comparison.compare import Comparison, Pairwise
from mmsent_training.evaluation.significance import Difference
from mmsent_training.evaluation.tables import text_table

Rows = list[list[str]]

CAUTION = "p-values and intervals are not corrected for several comparisons"


def describe(comparison: Comparison) -> str:
    """The complete comparison except the pairs."""
    parts = [
        text_table(contender_rows(comparison), left=3),
        text_table(score_rows(comparison)),
        text_table(difference_rows(comparison), left=2),
        "\n".join(verdict(two) for two in comparison.pairwise),
    ]
    if len(comparison.pairwise) > 1:
        parts[-1] += f"\n{CAUTION}"
    parts += [
        text_table(class_rows(comparison), left=2),
        text_table(class_difference_rows(comparison), left=2),
    ]
    if comparison.facts:
        parts.append(text_table(fact_rows(comparison), left=len(comparison.contenders) + 1))
    for each in comparison.contenders:
        if each.overlap:
            parts.append(f"{each.letter}: {each.overlap}")
    return "\n\n".join(parts)


def contender_rows(comparison: Comparison) -> Rows:
    """The contenders by letter."""
    rows = [["", "path", "kind"]]
    kinds = {"run": "run", "bundle": "bundle", "predictions": "file of predictions"}
    return rows + [[each.letter, each.path, kinds[each.kind]] for each in comparison.contenders]


def score_rows(comparison: Comparison) -> Rows:
    """Each contender's scores, with intervals."""
    rows = [[f"{comparison.pairs} pairs", "accuracy", "", "macro F1", "", "weighted F1", "AUROC"]]
    for each in comparison.contenders:
        cells = [each.letter]
        for score, ends in (
            (each.accuracy, each.intervals.accuracy),
            (each.macro_f1, each.intervals.macro_f1),
        ):
            cells += [f"{score:.3f}", f"({ends[0]:.3f} to {ends[1]:.3f})"]
        area = "" if each.auroc is None else f"{each.auroc:.3f}"
        rows.append([*cells, f"{each.weighted_f1:.3f}", area])
    return rows


def class_rows(comparison: Comparison) -> Rows:
    """Precision, recall and F1 of each label, contender below contender."""
    rows = [["label", "", "precision", "recall", "F1", "pairs"]]
    for label in comparison.labels:
        for number, each in enumerate(comparison.contenders):
            scores = each.classes[label]
            values = (f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1))
            name, pairs = ("", "") if number else (label, str(scores.support))
            rows.append([name, each.letter, *values, pairs])
    return rows


def difference_rows(comparison: Comparison) -> Rows:
    """The differences between every two contenders, with paired intervals."""
    return _differences(
        comparison,
        [
            {
                "accuracy": two.differences.accuracy,
                "macro F1": two.differences.macro_f1,
                "weighted F1": two.differences.weighted_f1,
            }
            for two in comparison.pairwise
        ],
    )


def class_difference_rows(comparison: Comparison) -> Rows:
    """The differences of each label's F1."""
    values = [dict(zip(comparison.labels, two.differences.f1)) for two in comparison.pairwise]
    return _differences(comparison, values, header="F1 of")


def _differences(
    comparison: Comparison, values: Sequence[Mapping[str, Difference]], header: str = ""
) -> Rows:
    rows = [["difference", header, "", "95 % interval"]]
    for two, found in zip(comparison.pairwise, values):
        for number, (score, value) in enumerate(found.items()):
            name = "" if number else f"{two.one} - {two.other}"
            ends = f"{signed(value.low)} to {signed(value.high)}"
            rows.append([name, score, signed(value.value), ends])
    return rows


def signed(value: float) -> str:
    """Three decimals with a sign; no sign for zero."""
    text = f"{value:+.3f}"
    return "0.000" if text[1:] == "0.000" else text


def verdict(two: Pairwise) -> str:
    """The result of McNemar's test on two contenders, in one line."""
    test = two.mcnemar
    return (
        f"{two.one} and {two.other}: {counted(test.only_one, 'pairs')} only {two.one} got right, "
        f"{test.only_other} only {two.other}; McNemar's exact {test.verdict}"
    )


def fact_rows(comparison: Comparison) -> Rows:
    """The settings and data that differ."""
    rows = [["differing", *(each.letter for each in comparison.contenders)]]
    for name, values in comparison.facts.items():
        rows.append([name, *("" if value is None else _said(value) for value in values)])
    return rows


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)

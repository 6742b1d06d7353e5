"""The confident mistakes of an evaluation as a page."""

from html import escape
from pathlib import Path

import numpy as np

from mmsent_training.evaluation.bundle import Evaluation
from mmsent_training.evaluation.page import Answer, Card, Section, write_page


def write_mistakes(path: Path, evaluation: Evaluation, limit: int) -> None:
    """Write a page with the ``limit`` wrong predictions of the highest probabilities."""
    examples, values = evaluation.examples, evaluation.probabilities
    predicted, names = values.argmax(axis=1), examples.label_names
    wrong = np.flatnonzero(predicted != examples.labels)
    ranked = wrong[np.argsort(-values[wrong].max(axis=1), kind="stable")]
    cards = [
        Card(
            examples.pairs[row],
            names[examples.labels[row]],
            [Answer("", names[predicted[row]], dict(zip(names, values[row].tolist())))],
        )
        for row in ranked[:limit].tolist()
    ]
    scores = evaluation.scores
    said = (
        f"accuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}, {scores.pairs} pairs; "
        "the wrong predictions with the highest probabilities come first"
    )
    section = Section("Wrong predictions", cards, len(ranked))
    write_page(path, "Confident but wrong", f'<p class="quiet">{escape(said)}</p>\n', [section])

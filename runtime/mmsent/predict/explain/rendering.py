"""The common parts of an explanation's page and picture."""

from collections.abc import Sequence
from typing import NamedTuple

from mmsent.predict.explain.explanation import Explanation

TITLE = "What moved this prediction"
UNIT = "+0.69 doubles the odds of the predicted label, -0.69 halves them."
CAUTION = (
    "Measured by predicting again with parts left out: it shows what moves the prediction, not why "
    "that is so."
)
MODALITIES = "Right of the line, solid: for the label. Left, striped: against it."
WORDS = (
    "Below each word: what it adds. Solid line: for the label. Broken line: against it. The "
    "thicker the line, the larger the value."
)
FINE = 4  # points of the smooth map along a cell's edge
MARKED = 3  # cells that are outlined and numbered


class Cell(NamedTuple):
    """A cell of the map, counted from 0 at the top left, and its value."""

    row: int
    column: int
    value: float


def signed(value: float) -> str:
    """Two decimals with a sign; no sign for zero."""
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text


def scale(values: Sequence[float]) -> float:
    """The value of the strongest colour: the largest absolute value."""
    return max(map(abs, values), default=0.0) or 1.0


def strongest_cells(regions: Sequence[Sequence[float]]) -> list[Cell]:
    """Up to MARKED cells with the largest absolute values, the largest first.

    Values that would be shown as 0.00 are left out.
    """
    cells = [
        Cell(i, j, value) for i, values in enumerate(regions) for j, value in enumerate(values)
    ]
    cells.sort(key=lambda cell: -abs(cell.value))
    return [cell for cell in cells[:MARKED] if abs(cell.value) >= 0.005]


def legend(regions: Sequence[Sequence[float]]) -> str:
    """What the map shows, with the values of the outlined cells by their numbers."""
    ranked = enumerate(strongest_cells(regions), 1)
    values = ", ".join(f"{rank}: {signed(cell.value)}" for rank, cell in ranked)
    return (
        "Blue, plain: for the label. Orange, striped: against it. Outlined: the strongest of "
        f"{len(regions)} x {len(regions)} regions; {values or 'none moves it'}."
    )


def notes(explanation: Explanation) -> list[str]:
    """Notes that readers need to interpret these numbers."""
    found = []
    foreign = [each for each in explanation.foreign if each != "neither"]
    if foreign:
        alone = " or ".join(f"the {each} alone" for each in foreign)
        found.append(
            f"The model was not trained on {alone}: what it predicts there is a guess, and so are "
            "the shares of text and image."
        )
    if explanation.read < len(explanation.text.rstrip()):
        found.append(
            f"The model reads the first {explanation.read} of {len(explanation.text)} characters."
        )
    found.append(
        f"{explanation.runs} predictions of at most {explanation.budget}. Text and image: exact "
        "Shapley values. Words and regions: each left out on its own."
    )
    return found

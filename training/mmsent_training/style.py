"""The one style of all pictures: draw under `style`, save with `save`.

Text is at least 9 points at 150 dots per inch, so that a picture is legible at half its size.
Series differ in lightness as well as in hue, so that they stay different in grey.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend

from mmsent.files.atomic import atomic_path

BLUE, ORANGE, BLACK = "#0072b2", "#e69f00", "#1a1a1a"
"""The colours of series, in this order: of Okabe and Ito's palette for colour-blind readers."""
GREY = "#8c8c8c"
"""The colour of references, such as a diagonal or a baseline."""

SMALL = 9
"""The smallest text, in points."""

STYLE: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.4",
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "image.interpolation": "antialiased",
    "text.parse_math": False,
}
"""matplotlib's settings, for `matplotlib.rc_context`."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style within the block. Also a decorator: ``@style()``."""
    with rc_context(STYLE):
        yield


def legend_below(figure: Figure | SubFigure, axes: Axes, columns: int = 3) -> Legend:
    """A legend below the axes, where it covers nothing. The layout must be "constrained"."""
    handles, labels = axes.get_legend_handles_labels()
    return figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with style(), atomic_path(path) as part:
        figure.savefig(part, format="png")

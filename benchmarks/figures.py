"""Write the tables and the chart of README.md and docs/ from benchmarks/results/*.json.

    python benchmarks/figures.py           (make figures)
    python benchmarks/figures.py --check   changes nothing, and fails if a document is stale

In a document, everything between <!-- figures: NAME --> and <!-- end --> is the table NAME of
tables.py. measure.py runs the benchmarks.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tables import BARS, TABLES, Results, chart_text, digits, speeds

ROOT = Path(__file__).parents[1]
REGION = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    options = parser.parse_args()
    results = read_results(options.root / "benchmarks" / "results")
    chart = options.root / "docs" / "speed.svg"
    stale = []
    for path in [options.root / "README.md", *sorted((options.root / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        wanted = fill(text, results)
        if text != wanted:
            stale.append(path)
            if not options.check:
                path.write_text(wanted, encoding="utf-8")
    if not chart.exists() or f">{chart_text(results)}<" not in chart.read_text(encoding="utf-8"):
        stale.append(chart)
        if not options.check:
            draw(results, chart)
    for path in stale:
        state = "is stale: run make figures" if options.check else "was written"
        print(f"{path.relative_to(options.root)} {state}")
    sys.exit(options.check and bool(stale))


def read_results(folder: Path) -> Results:
    files = sorted(folder.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def fill(text: str, results: Results) -> str:
    """A document with its tables."""
    return REGION.sub(lambda found: found[1] + TABLES[found[2]](results) + found[3], text)


def draw(results: Results, path: Path) -> None:
    """The chart in the README: one bar per side, and separate axes for each model."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from mmsent.files.atomic import atomic_path
    from mmsent_training.style import BLUE, GREY, style

    with style(), rc_context({"svg.hashsalt": "mmsent"}):
        models = speeds(results)
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        places = figure.subplots(1, len(models), sharey=True)
        for axes, (model, sides) in zip(places, models.items()):
            shown = [sides[name] for name in BARS]
            rates = [side["pairs_per_second"] for side in shown]
            colours = [BLUE if name.startswith("mmsent") else GREY for name in BARS]
            bars = axes.barh(BARS, rates, color=colours, height=0.7)
            labels = [f"{digits(r)} ({side['ratio']:.1f}x)" for r, side in zip(rates, shown)]
            axes.bar_label(bars, labels, padding=4)
            axes.set(title=model, xlim=(0, 1.5 * max(rates)), xlabel="pairs a second")
        places[0].invert_yaxis()  # of the whole picture: the axes share it
        with atomic_path(path) as part:
            metadata = {"Date": None, "Description": chart_text(results)}
            figure.savefig(part, format="svg", metadata=metadata)


if __name__ == "__main__":
    main()

"""Progress of long work: a bar if a command runs on a terminal, and a rate in the log."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from mmsent.files.console import bars_shown

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)


class Progress:
    """Counts items of work: ``with Progress("decoding", 4000, "images") as progress: …``.

    ``summary``: whether to log a line at the end. ``later``: the items of similar work that follow;
    the bar then also shows the time left for all of them.
    """

    def __init__(
        self, name: str, total: int | None, unit: str, *, summary: bool = True, later: int = 0
    ) -> None:
        self.name, self.unit, self.summary, self.later = name, unit, summary, later
        self.start = time.perf_counter()
        self.total, self.count = total, 0
        self.bar: tqdm[Any] | None = None
        if bars_shown() and sys.stderr.isatty():
            from tqdm import tqdm  # its import takes a sixth of a command's start

            self.bar = tqdm(
                desc=name, total=total, unit=f" {unit}", leave=False, dynamic_ncols=True
            )

    def update(self, count: int = 1, note: str = "") -> None:
        """Add ``count`` finished items; the bar ends with ``note``."""
        self.count += count
        if self.bar is None:
            return
        if self.later and self.total and self.count:
            rest = self.total - self.count + self.later
            seconds = rest * (time.perf_counter() - self.start) / self.count
            left = f"{self.bar.format_interval(seconds)} left in all"
            note = f"{note}, {left}" if note else left
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if self.bar is not None:
            self.bar.close()
        self.seconds = time.perf_counter() - self.start
        if self.summary and error is None:
            what = f"{self.name}: {counted(self.count, self.unit)} in {self.seconds:.1f} s"
            rate = per_second(self.count, self.seconds)
            logger.info(f"{what} ({rate} a second)" if self.count else what)


def counted(count: int, unit: str) -> str:
    """``count`` with its unit, given in the plural: "1 pair", "2 pairs"."""
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}"


def per_second(count: int, seconds: float) -> str:
    """The rate per second as text; a slow rate is not rounded to 0."""
    rate = count / max(seconds, 1e-9)
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"

"""Progress of long work on stderr: a bar on a terminal, and its rate at the end everywhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts items of work: ``with Progress("decoding", 4000, "images") as progress: …``.

    ``summary`` says whether the end is worth a line of its own.
    """

    def __init__(self, name: str, total: int | None, unit: str, *, summary: bool = True) -> None:
        self.name, self.unit, self.summary = name, unit, summary
        self.start = time.perf_counter()
        self.bar = tqdm(
            desc=name,
            total=total,
            unit=f" {unit}",
            disable=None,  # where stderr is no terminal
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self.count = 0

    def update(self, count: int = 1) -> None:
        """Say that ``count`` more items are done."""
        self.count += count
        self.bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.close()
        self.seconds = time.perf_counter() - self.start
        self.rate = self.count / self.seconds if self.seconds else 0.0
        if self.summary and error is None:
            print(
                f"{self.name}: {self.count} {self.unit} in {self.seconds:.1f} s "
                f"({self.rate:.0f} a second)",
                file=sys.stderr,
            )

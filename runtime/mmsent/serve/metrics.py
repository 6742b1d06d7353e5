"""The service's metrics in the Prometheus text format (version 0.0.4).

Implemented here in a few lines instead of with prometheus_client: one process, few series. Use it
only in the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metric:
    """A metric with one series per combination of its labels' values."""

    kind = "untyped"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)

    def lines(self) -> Iterator[str]:
        """The metric in the text format."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for suffix, names, values, number in self.samples():
            pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values))
            yield f"{self.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {number!r}"

    def samples(self) -> Iterator[tuple[str, Sequence[str], Sequence[str], float]]:
        """Suffix of the name, names and values of the labels, number."""
        raise NotImplementedError


class Counter(Metric):
    """A number that only increases."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *values: str, by: float = 1.0) -> None:
        """Add ``by`` to the series with these label values."""
        self._values[values] = self._values.get(values, 0.0) + by

    def samples(self) -> Iterator[tuple[str, Sequence[str], Sequence[str], float]]:
        for values, number in self._values.items():
            yield "", self.labels, values, number


class Gauge(Metric):
    """Numbers that are read when the metrics are requested, by label values."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        help: str,
        read: Callable[[], dict[tuple[str, ...], float]],
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(name, help, labels)
        self._read = read

    def samples(self) -> Iterator[tuple[str, Sequence[str], Sequence[str], float]]:
        for values, number in self._read().items():
            yield "", self.labels, values, float(number)


class Histogram(Metric):
    """Counts how often a number was at most each of ``bounds``."""

    kind = "histogram"

    def __init__(
        self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        super().__init__(name, help, labels)
        self._bounds = tuple(bounds)
        self._counts: dict[tuple[str, ...], list[int]] = defaultdict(
            lambda: [0] * (len(bounds) + 1)
        )
        self._sums: dict[tuple[str, ...], float] = defaultdict(float)

    def observe(self, number: float, *values: str) -> None:
        """Count ``number`` in the series with these label values."""
        self._counts[values][bisect_left(self._bounds, number)] += 1
        self._sums[values] += number

    def samples(self) -> Iterator[tuple[str, Sequence[str], Sequence[str], float]]:
        names = (*self.labels, "le")
        for values, counts in self._counts.items():
            total = 0
            for bound, count in zip((*self._bounds, None), counts):
                total += count
                le = "+Inf" if bound is None else repr(float(bound))
                yield "_bucket", names, (*values, le), float(total)
            yield "_sum", self.labels, values, self._sums[values]
            yield "_count", self.labels, values, float(total)


def render(metrics: Sequence[Metric]) -> str:
    """All metrics in the text format."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

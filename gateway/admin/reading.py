"""The metrics of all workers at two moments, as rates, levels and quantiles of the time between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from gateway.metrics import Metric, Sample

# Name of the worker → its metrics.
Metrics = Mapping[str, Sequence[Metric]]
ALL: Final = ""
# The label by which values are told apart: one of the metric, or the worker that published it.
WORKER: Final = "worker"
Labels = Mapping[str, str]
Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Reading:
    """One look at the metrics, and the one before it for counters."""

    def __init__(self, at: float, metrics: Metrics, before: Reading | None = None) -> None:
        """`at` is in seconds of any steady clock. A worker that is silent for a while has no metrics, and is still named."""
        self.at = at
        self._looked_at = {worker: at for worker, published in metrics.items() if published}
        self._samples: dict[str, list[tuple[str, Sample]]] = defaultdict(list)
        for worker, published in metrics.items():
            for metric in published:
                self._samples[metric.name].extend((worker, sample) for sample in metric.samples)
        self._counts: dict[Key, float] = {
            _key(metric.name, worker, sample): sample.value
            for worker, published in metrics.items()
            for metric in published
            if metric.kind != "gauge"
            for sample in metric.samples
        }
        self._before: Mapping[Key, float] = {}
        self._before_at: Mapping[str, float] = {}
        # Since the look before; 0 at the first.
        self.seconds = 0.0
        if before is not None:
            self._follow(before, {worker for worker, published in metrics.items() if not published})

    def _follow(self, before: Reading, silent: set[str]) -> None:
        """Count from the look before. The last counts of silent workers stay, or they would seem to have done all at once later."""
        self.seconds = self.at - before.at
        self._before, self._before_at = before._counts, before._looked_at
        self._counts.update((key, count) for key, count in self._before.items() if key[1] in silent)
        self._looked_at.update((worker, at) for worker, at in self._before_at.items() if worker in silent)

    def forget_before(self) -> None:
        """Let the counts of the look before go, after which rates are wrong."""
        self._before, self._before_at, self.seconds = {}, {}, 0.0

    def rate(self, name: str, by: str = ALL, where: Callable[[Labels], bool] | None = None) -> dict[str, float]:
        """The growth of a counter in a second, by the values of a label. Nothing at the first look."""
        if self.seconds <= 0:
            return {}
        grown: dict[str, float] = defaultdict(float)
        for worker, sample in self._matching(name, where):
            seconds = self.at - self._before_at.get(worker, self.at - self.seconds)
            grown[_group(worker, sample, by)] += self._growth(name, worker, sample) / seconds
        return dict(grown)

    def level(
        self,
        name: str,
        by: str = ALL,
        where: Callable[[Labels], bool] | None = None,
        combine: Callable[[Iterable[float]], float] = max,
    ) -> dict[str, float]:
        """The value of a gauge, by the values of a label; those of several samples are combined."""
        found: dict[str, list[float]] = defaultdict(list)
        for worker, sample in self._matching(name, where):
            found[_group(worker, sample, by)].append(sample.value)
        return {group: combine(values) for group, values in found.items()}

    def quantiles(
        self, name: str, shares: Sequence[float], where: Callable[[Labels], bool] | None = None
    ) -> dict[float, float]:
        """Quantiles of a histogram's times since the look before, interpolated in their buckets. Nothing without times."""
        grown: dict[float, float] = defaultdict(float)
        for worker, sample in self._matching(name, where):
            if (bound := sample.labels.get("le")) is not None:
                grown[float(bound)] += self._growth(name, worker, sample)
        buckets = sorted(grown.items())
        if self.seconds <= 0 or not buckets or buckets[-1][1] <= 0:
            return {}
        return {share: _quantile(buckets, share) for share in shares}

    def _matching(self, name: str, where: Callable[[Labels], bool] | None) -> Iterator[tuple[str, Sample]]:
        for worker, sample in self._samples.get(name, ()):
            if where is None or where(sample.labels):
                yield worker, sample

    def _growth(self, name: str, worker: str, sample: Sample) -> float:
        # A worker that was not there before has begun to count since; names are not used again at once.
        before = self._before.get(_key(name, worker, sample), 0.0)
        return sample.value - before if sample.value >= before else sample.value


def _key(name: str, worker: str, sample: Sample) -> Key:
    return name, worker, tuple(sample.labels.items())


def _group(worker: str, sample: Sample, by: str) -> str:
    return worker if by == WORKER else sample.labels.get(by, ALL)


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """As Prometheus' histogram_quantile: linear within a bucket, and the last finite bound above it."""
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, total in buckets:
        if total >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((wanted - below) / (total - below) if total > below else 1.0)
        low, below = bound, total
    return low


def carts_made(reading: Reading) -> float:
    """New carts in a second."""
    return sum(reading.rate("peakgate_requests_total", where=_makes_cart).values())


def _makes_cart(labels: Labels) -> bool:
    return labels["method"] == "POST" and labels["route"] == "/v1/carts" and labels["status"] == "201"

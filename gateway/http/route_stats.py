"""Statistics of routes: responses by status and by problem, and their times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol

from gateway.metrics import Exemplar, Metric, Sample

# Upper bounds in seconds, from a cached response to a checkout that hangs.
BOUNDS: Final[Sequence[float]] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class RouteStats:
    """Responses of one endpoint by status and by the slug of their problem, and their times."""

    __slots__ = ("by_bound", "by_problem", "by_status", "exemplars", "seconds")

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.by_problem: dict[str, int] = {}
        self.by_bound = [0] * (len(BOUNDS) + 1)
        # The latest traced response of a bucket, by the index of its bound.
        self.exemplars: dict[int, Exemplar] = {}
        self.seconds = 0.0

    def add(self, status: int, elapsed_s: float) -> None:
        """Count a response."""
        by_status = self.by_status
        by_status[status] = by_status.get(status, 0) + 1
        # Most responses are within the first bounds: compiled, this loop costs a quarter of `bisect_left`.
        index = 0
        for bound in BOUNDS:
            if elapsed_s <= bound:
                break
            index += 1
        self.by_bound[index] += 1
        self.seconds += elapsed_s

    def add_problem(self, slug: str) -> None:
        """Count the problem that a counted response tells."""
        by_problem = self.by_problem
        by_problem[slug] = by_problem.get(slug, 0) + 1

    def add_exemplar(self, elapsed_s: float, trace_id: str) -> None:
        """Let a traced response stand for the bucket that counts it."""
        self.exemplars[bisect_left(BOUNDS, elapsed_s)] = Exemplar(trace_id, elapsed_s)


class Counted(Protocol):
    """An endpoint with its statistics."""

    method: str
    path: str
    stats: RouteStats


class RouteStatsTable:
    """The stats of all routes of a process, by method and path template. They outlive a change of routes."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, str], RouteStats] = {}

    def of(self, method: str, path: str) -> RouteStats:
        """The stats of a route."""
        return self._stats.setdefault((method, path), RouteStats())

    def adopt(self, endpoints: Iterable[Counted]) -> None:
        """Set the stats of endpoints to those of their routes."""
        for endpoint in endpoints:
            endpoint.stats = self.of(endpoint.method, endpoint.path)

    def snapshot(self) -> Mapping[str, Any]:
        """Responses by route and status."""
        return {
            f"{method} {path}": {str(status): count for status, count in sorted(stats.by_status.items())}
            for (method, path), stats in self._stats.items()
            if stats.by_status
        }

    def metrics(self) -> Iterable[Metric]:
        """Responses by route and status, and by route and problem; response times by route."""
        used = [(route, stats) for route, stats in self._stats.items() if stats.by_status]
        yield Metric(
            "peakgate_requests_total",
            "Responses, by route and status.",
            "counter",
            [
                Sample({"method": method, "route": path, "status": str(status)}, count)
                for (method, path), stats in used
                for status, count in stats.by_status.items()
            ],
        )
        yield Metric(
            "peakgate_problems_total",
            "Responses that tell a problem, by route and the slug of its type.",
            "counter",
            [
                Sample({"method": method, "route": path, "problem": slug}, count)
                for (method, path), stats in used
                for slug, count in stats.by_problem.items()
            ],
        )
        yield Metric(
            "peakgate_request_seconds",
            "Time from a complete request to its response, by route.",
            "histogram",
            [sample for route, stats in used for sample in _histogram(route, stats)],
        )


def _histogram(route: tuple[str, str], stats: RouteStats) -> Sequence[Sample]:
    labels = {"method": route[0], "route": route[1]}
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    buckets = [
        Sample({**labels, "le": le}, total, stats.exemplars.get(index))
        for index, (le, total) in enumerate(zip(bounds, accumulate(stats.by_bound), strict=True))
    ]
    return [*buckets, Sample({**labels, "sum": ""}, stats.seconds)]

"""The count of trending products in a worker, as operators see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cart.catalog.trending import Trending
from gateway.metrics import Metric, Sample


class TrendingStats:
    """Whether the count is paused, and how many lines of orders it has counted and dropped."""

    def __init__(self, trending: Trending) -> None:
        self._trending = trending

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        trending = self._trending
        return {
            "is_paused": trending.is_paused(),
            "counted": trending.counted,
            "dropped": trending.dropped,
            "products": len(trending.top or ()),
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        trending = self._trending
        yield Metric(
            "peakgate_trending_paused",
            "1 while trending products are off, because the worker or the store lacks capacity.",
            "gauge",
            [Sample({}, float(trending.is_paused()))],
        )
        yield Metric(
            "peakgate_trending_order_lines_total",
            "Lines of accepted orders that were counted for trending products, or dropped.",
            "counter",
            [
                Sample({"result": "counted"}, float(trending.counted)),
                Sample({"result": "dropped"}, float(trending.dropped)),
            ],
        )

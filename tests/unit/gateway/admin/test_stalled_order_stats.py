from __future__ import annotations

from typing import Any

from gateway.admin.stalled_order_stats import StalledOrderStats


def test_orders_that_were_sent_again_are_counted() -> None:
    class Finder:
        sent_again = 3

    finder: Any = Finder()
    stats = StalledOrderStats(finder)
    (metric,) = stats.metrics()
    assert (metric.name, metric.kind, metric.samples[0].value) == ("peakgate_orders_sent_again_total", "counter", 3.0)
    assert stats.snapshot() == {"sent_again": 3}

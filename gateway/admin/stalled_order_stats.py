"""The orders that were found without a message, as operators see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from checkout.stalled_orders import StalledOrders
from gateway.metrics import Metric, Sample


class StalledOrderStats:
    """Snapshot and metrics of the finder of this worker."""

    def __init__(self, stalled: StalledOrders) -> None:
        self._stalled = stalled

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"sent_again": self._stalled.sent_again}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_orders_sent_again_total",
            "Orders that were in flight without a message and are back in the queue.",
            "counter",
            [Sample({}, float(self._stalled.sent_again))],
        )

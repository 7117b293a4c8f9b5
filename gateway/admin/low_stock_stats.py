"""The SKUs that have few units for sale, as operators see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from checkout.low_stock import LowStockWatch
from gateway.metrics import Metric, Sample

# The latest ones, by name.
MAX_NAMES: Final = 20


class LowStockStats:
    """The latest count. One worker at a time counts; the others show nothing."""

    def __init__(self, watch: LowStockWatch) -> None:
        self._watch = watch

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        units = self._watch.latest
        return {} if units is None else {"skus": len(units), "latest": dict(islice(units.items(), MAX_NAMES))}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        units = self._watch.latest
        if units is not None:
            yield Metric(
                "peakgate_low_stock_skus",
                "SKUs that a sale left with few units, at most --low-stock, and that have so few now.",
                "gauge",
                [Sample({}, float(len(units)))],
            )

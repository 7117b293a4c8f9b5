"""The archive of orders as operators see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from checkout.archive.retention import Retention
from checkout.archive.sink import ArchiveSink
from gateway.metrics import Metric, Sample


class ArchiveStats:
    """Snapshot and metrics of the archiving of this worker. The waiting events are in those of the relays."""

    def __init__(self, sink: ArchiveSink, retention: Retention) -> None:
        self._sink = sink
        self._retention = retention

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"archived": self._sink.archived, "deleted_from_store": self._retention.deleted}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_archive_records_total",
            "Records of orders that this worker has put into the archive.",
            "counter",
            [Sample({}, float(self._sink.archived))],
        )
        yield Metric(
            "peakgate_orders_deleted_total",
            "Orders that ended long ago, are archived, and were deleted from the store.",
            "counter",
            [Sample({}, float(self._retention.deleted))],
        )

"""The audit that runs by itself, as operators see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from checkout.audit.rules import RULES
from checkout.audit.watch import AuditWatch
from gateway.metrics import Metric, Sample


class AuditStats:
    """The latest round. One worker at a time audits; the others show nothing."""

    def __init__(self, watch: AuditWatch) -> None:
        self._watch = watch

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        latest = self._watch.latest
        if latest is None:
            return {}
        return {
            "ended_at": latest.ended_at,
            "orders": latest.report.looked_at,
            "is_full": latest.is_full,
            "findings": dict(Counter(each.rule for each in latest.report.findings)),
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        latest = self._watch.latest
        if latest is None:
            return
        found = Counter(each.rule for each in latest.report.findings)
        yield Metric(
            "peakgate_audit_findings",
            "Findings of the latest audit of the books, by rule.",
            "gauge",
            [Sample({"rule": rule}, float(found[rule])) for rule in RULES],
        )
        yield Metric(
            "peakgate_audit_orders",
            "Orders that the latest audit looked at: all, or those that changed.",
            "gauge",
            [Sample({}, float(latest.report.looked_at))],
        )
        yield Metric(
            "peakgate_audit_ended_timestamp_seconds",
            "When the latest audit ended.",
            "gauge",
            [Sample({}, latest.ended_at)],
        )

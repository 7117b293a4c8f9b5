"""Statistics of rate limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from gateway.metrics import Metric, Sample
from gateway.ratelimit.batch import Counts


def snapshot_of(counts: Counts) -> Mapping[str, Any]:
    """The decisions of one limit."""
    return {
        "granted": counts.granted,
        "rejected": counts.rejected,
        "rejected_from_cache": counts.rejected_from_cache,
    }


def quota_metrics(
    counts: Mapping[str, Counts], shadows: Collection[str], *, batches: int, requests: int, is_local: bool
) -> Iterable[Metric]:
    """The metrics of all limits; `shadows` names those in shadow mode."""
    samples = []
    for name, each in counts.items():
        rejected = "shadow-rejected" if name in shadows else "rejected"
        samples += [Sample({"limit": name, "outcome": "granted"}, each.granted)]
        samples += [Sample({"limit": name, "outcome": rejected}, each.rejected)]
    yield Metric("peakgate_limit_decisions_total", "Decisions of each rate limit.", "counter", samples)
    yield Metric(
        "peakgate_limit_rejected_from_cache_total",
        "Rejections by each rate limit without a call of the store.",
        "counter",
        [Sample({"limit": name}, each.rejected_from_cache) for name, each in counts.items()],
    )
    yield _one("peakgate_limit_batches_total", "Calls of the store for rate limits.", "counter", batches)
    yield _one("peakgate_limit_requests_total", "Requests decided by these calls.", "counter", requests)
    yield _one("peakgate_limit_local", "1 while this process decides with its share alone.", "gauge", is_local)


def _one(name: str, description: str, kind: Literal["counter", "gauge"], value: float) -> Metric:
    return Metric(name, description, kind, [Sample({}, float(value))])

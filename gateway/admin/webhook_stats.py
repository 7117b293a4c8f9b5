"""Webhooks as operators see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from checkout.events.webhooks import Webhooks
from gateway.metrics import Metric, Sample


class WebhookStats:
    """Snapshot and metrics by endpoint. The attempts are those of this worker; one worker at a time counts the orders that wait."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {
            name: {
                **{
                    outcome: count for (endpoint, outcome), count in self._webhooks.attempts.items() if endpoint == name
                },
                "waiting_orders": waiting.orders if (waiting := self._webhooks.waiting.get(name)) else 0,
                "oldest_due_s": waiting.oldest_due_s if waiting else 0.0,
                "disabled": self._webhooks.disabled.get(name),
            }
            for name in self._webhooks.endpoints
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        waiting = self._webhooks.waiting.items()
        yield Metric(
            "peakgate_webhook_attempts_total",
            "Attempts to deliver a webhook, by endpoint and outcome; `skipped` ones were not made.",
            "counter",
            [
                Sample({"endpoint": endpoint, "outcome": outcome}, float(count))
                for (endpoint, outcome), count in self._webhooks.attempts.items()
            ],
        )
        yield Metric(
            "peakgate_webhook_orders_waiting",
            "Orders with webhooks that wait; in the worker that looked last, none in the others.",
            "gauge",
            [Sample({"endpoint": endpoint}, float(each.orders)) for endpoint, each in waiting],
        )
        yield Metric(
            "peakgate_webhook_oldest_due_seconds",
            "How long the first webhook that waits has been due.",
            "gauge",
            [Sample({"endpoint": endpoint}, each.oldest_due_s) for endpoint, each in waiting],
        )
        yield Metric(
            "peakgate_webhook_endpoint_disabled",
            "1 for an endpoint that is disabled, by the reason.",
            "gauge",
            [
                Sample({"endpoint": endpoint, "reason": reason}, 1.0)
                for endpoint, reason in self._webhooks.disabled.items()
                if reason is not None
            ],
        )

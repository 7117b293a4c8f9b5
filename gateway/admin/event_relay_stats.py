"""The relays of events as operators see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from checkout.events.relay import EventRelay
from gateway.metrics import Metric, Sample


class EventRelayStats:
    """Snapshot and metrics of the relays of this worker, by sink. One worker at a time counts the waiting ones."""

    def __init__(self, relays: Sequence[EventRelay]) -> None:
        self._relays = relays

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {
            relay.name: {
                "relayed": relay.relayed,
                "failures": relay.failures,
                "waiting": relay.waiting,
                "oldest_age_s": relay.oldest_age_s,
            }
            for relay in self._relays
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_events_relayed_total",
            "Events of orders that a sink has taken.",
            "counter",
            [Sample({"sink": relay.name}, float(relay.relayed)) for relay in self._relays],
        )
        yield Metric(
            "peakgate_event_relay_failures_total",
            "Hand-overs of events to a sink that failed; they are repeated.",
            "counter",
            [Sample({"sink": relay.name}, float(relay.failures)) for relay in self._relays],
        )
        yield Metric(
            "peakgate_events_waiting",
            "Events that a sink does not have yet; in the worker that looked last, 0 in the others.",
            "gauge",
            [Sample({"sink": relay.name}, float(relay.waiting)) for relay in self._relays],
        )
        yield Metric(
            "peakgate_events_oldest_seconds",
            "Age of the oldest event that a sink does not have yet.",
            "gauge",
            [Sample({"sink": relay.name}, relay.oldest_age_s) for relay in self._relays],
        )

"""The orders of the shop as operators see them: those that this worker has stored, and the work that waits in the whole shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cart.currencies import MINOR_DIGITS
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.shop_counts import Counts, ShopCounts
from gateway.admin.histogram import Histogram
from gateway.metrics import Metric, Sample

# Upper bounds in seconds, from a worker that is idle to an order that waits out an outage of a service.
COMPLETION_BOUNDS: Final = (1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
_ACCEPTED: Final = (OrderStatus.ACCEPTED.value, "")


class OrderFlow:
    """An `OrderObserver` that counts the changes stored by this worker: orders by status and reason, money by currency.

    And the time of each completed order since it was accepted.
    """

    def __init__(self) -> None:
        self._orders: Counter[tuple[str, str]] = Counter()
        self._money: Counter[tuple[str, str]] = Counter()
        self._completion = Histogram(COMPLETION_BOUNDS)

    def accepted(self, order: Order) -> None:
        """See `OrderObserver.accepted`."""
        self._orders[_ACCEPTED] += 1
        self._money["accepted", order.currency] += order.total

    def changed(self, before: Order, after: Order) -> None:
        """See `OrderObserver.changed`."""
        if after.status is not before.status:
            self._orders[after.status.value, after.reason.value if after.reason else ""] += 1
            if after.status in {OrderStatus.COMPLETED, OrderStatus.CANCELLED}:
                self._money[after.status.value, after.currency] += after.total
            if after.status is OrderStatus.COMPLETED:
                # Clocks of two machines may differ by more than a fast order takes.
                self._completion.add(max(0, after.updated_at - after.created_at) / 1000)
        if refunded := after.refunded - before.refunded:
            self._money["refunded", after.currency] += refunded

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {
            "orders": {
                f"{status} ({reason})" if reason else status: count
                for (status, reason), count in sorted(self._orders.items())
            },
            "money": {
                f"{what} {currency}": _major(minor, currency) for (what, currency), minor in sorted(self._money.items())
            },
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_order_changes_total",
            "Orders that reached a status, by status and, for cancelled ones, reason.",
            "counter",
            [
                Sample({"status": status, "reason": reason}, float(count))
                for (status, reason), count in sorted(self._orders.items())
            ],
        )
        yield Metric(
            "peakgate_order_money_total",
            "Money of orders in major units, by what became of it: accepted, completed, cancelled, refunded.",
            "counter",
            [
                Sample({"became": what, "currency": currency}, _major(minor, currency))
                for (what, currency), minor in sorted(self._money.items())
            ],
        )
        yield Metric(
            "peakgate_order_completion_seconds",
            "Time of completed orders from accepted to completed.",
            "histogram",
            self._completion.samples({}),
        )


class ShopStats:
    """The orders and messages that wait in the whole shop. One worker at a time counts them; the others show nothing."""

    def __init__(self, counts: ShopCounts) -> None:
        self._counts = counts

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        counts = self._counts.latest
        if counts is None:
            return {}
        return {
            "by_status": {status.value: count for status, count in counts.by_status.items()},
            "outbox": counts.outbox.waiting,
            "outbox_age_s": round(counts.outbox.oldest_age_s, 1),
            "queue": counts.queue_depth,
            "queue_age_s": None if counts.queue_age_s is None else round(counts.queue_age_s, 1),
            "open_claims": counts.open_claims,
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        counts = self._counts.latest
        if counts is not None:
            yield Metric(
                "peakgate_orders",
                "Orders of the whole shop by status.",
                "gauge",
                [Sample({"status": status.value}, float(count)) for status, count in counts.by_status.items()],
            )
            yield from (_gauge(name, text, value) for name, text, value in _gauges(counts) if value is not None)


def _gauges(counts: Counts) -> Iterable[tuple[str, str, float | None]]:
    yield "peakgate_outbox_messages", "Messages that the order queue does not have yet.", counts.outbox.waiting
    yield "peakgate_outbox_oldest_seconds", "Age of the oldest message in the outbox.", counts.outbox.oldest_age_s
    yield "peakgate_queue_messages", "Messages in the order queue, those being worked on too.", counts.queue_depth
    yield "peakgate_queue_oldest_seconds", "Age of the oldest message in the order queue.", counts.queue_age_s
    yield "peakgate_stock_claims", "Checkouts that hold stock, running or dead and not swept yet.", counts.open_claims


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, text, "gauge", [Sample({}, float(value))])


def _major(minor: int, currency: str) -> float:
    return minor / float(10 ** MINOR_DIGITS.get(currency, 2))

"""Orders by status in memory, for tests; the same rules as in Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from cart.timestamps import unix_ms
from checkout.memory.orders import MemoryOrders
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.order_listing import Listed


class MemoryOrderListing:
    """`OrderListing` beside the orders; the time of a status is that in the history."""

    def __init__(self, orders: MemoryOrders, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._orders = orders
        self._clock_ms = clock_ms

    async def page(
        self,
        statuses: Collection[OrderStatus],
        *,
        limit: int,
        after: Listed | None = None,
        older_s: float = 0.0,
        younger_s: float | None = None,
        newest_first: bool = False,
    ) -> Sequence[Listed]:
        """See `OrderListing.page`."""
        now = self._clock_ms()
        listed = [
            (at, order.id)
            for order in (receipt.order for receipt in self._orders.orders.values())
            if order.status in statuses
            for at in [_since(order)]
            if now - at >= older_s * 1000 and (younger_s is None or now - at <= younger_s * 1000)
        ]
        listed.sort(reverse=newest_first)
        if after is not None:
            position = (after.at, after.order_id)
            listed = [each for each in listed if (each < position if newest_first else each > position)]
        return [Listed(at, order_id) for at, order_id in listed[:limit]]

    async def now_ms(self) -> int:
        """See `OrderListing.now_ms`."""
        return self._clock_ms()

    async def counts(self) -> Mapping[OrderStatus, int]:
        """See `OrderListing.counts`."""
        found = Counter(receipt.order.status for receipt in self._orders.orders.values())
        return {status: found[status] for status in OrderStatus}


def _since(order: Order) -> int:
    """When the order reached its status."""
    return next(entry.at for entry in order.history if entry.status is order.status)

"""The orders in flight in memory, for tests; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.order import Order
from checkout.ports.outbox import OutboxEntry


class MemoryInFlight:
    """`InFlight` beside the orders. No call awaits, so each is one atomic change."""

    def __init__(
        self, orders: MemoryOrders, progress: MemoryProgress, *, clock_ms: Callable[[], int] = unix_ms
    ) -> None:
        self._orders = orders
        self._progress = progress
        self._clock_ms = clock_ms

    async def stalled(self, *, idle_s: float, limit: int) -> Sequence[OrderId]:
        """See `InFlight.stalled`."""
        return [order_id for order_id in self._orders.in_flight if self._is_stalled(order_id, idle_s)][:limit]

    async def send_again(self, order: Order, message: bytes, *, idle_s: float) -> OutboxEntry | None:
        """See `InFlight.send_again`."""
        if not self._is_stalled(order.id, idle_s):
            return None
        if order.id not in self._orders.orders or self._progress.is_aside(order.id):
            del self._orders.in_flight[order.id]
            return None
        is_in_outbox = any(entry.order_id == order.id for entry in self._orders.entries.values())
        if is_in_outbox or self._progress.is_in_hands(order.id):
            return None
        self._orders.in_flight[order.id] = self._clock_ms()
        return self._orders.post(order.id, message)

    async def remove(self, order_id: OrderId) -> None:
        """See `InFlight.remove`."""
        self._orders.in_flight.pop(order_id, None)

    def _is_stalled(self, order_id: OrderId, idle_s: float) -> bool:
        seen_ms = self._orders.in_flight.get(order_id)
        return seen_ms is not None and self._clock_ms() - seen_ms >= round(idle_s * 1000)

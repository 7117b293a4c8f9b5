"""The orders in flight: accepted, and not finished yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.outbox import OutboxEntry


class InFlight(Protocol):
    """The orders in flight, each with its last sign of life by the clock of the store: accepted, sent, moved on.

    A commit begins the flight of an order, `Orders.settle` ends it. Raises the errors of the store.
    """

    async def stalled(self, *, idle_s: float, limit: int) -> Sequence[OrderId]:
        """Up to `limit` orders without a sign of life for `idle_s` seconds."""
        ...

    async def send_again(self, order: Order, message: bytes, *, idle_s: float) -> OutboxEntry | None:
        """Append `message` to the outbox, which is a sign of life.

        None, and nothing is sent, if the order is not stalled after all, a worker has its lease, or the outbox may have a
        message of it. The flight of an order that was rolled back or needs a person ends.
        """
        ...

    async def remove(self, order_id: OrderId) -> None:
        """End the flight of an order that nobody shall send again."""
        ...

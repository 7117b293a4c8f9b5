"""An order's history as it grows, for shoppers who follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, Protocol

import msgspec

from checkout.order import HistoryEntry, Order
from checkout.order_status import OrderStatus, may_reach
from checkout.ports.changes import OrderChanges

HEARTBEAT_S: Final = 15.0


class OrderEvent(msgspec.Struct, frozen=True):
    """An entry of the history of an order in this currency, numbered from 1."""

    number: int
    entry: HistoryEntry
    currency: str


class OrderReader(Protocol):
    """Reads an order for a shopper."""

    async def read(self, order_id: str, *, owner: str | None = None) -> Order:
        """The order in its current state. Raises `OrderNotFound`."""
        ...


class OrderEvents:
    """Follows orders: reads one again only when it has changed, and at each heartbeat in case a notice was lost."""

    def __init__(self, orders: OrderReader, changes: OrderChanges, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._orders = orders
        self._changes = changes
        self._heartbeat_s = heartbeat_s

    async def follow(
        self,
        order: Order,
        *,
        after: int = 0,
        until: OrderStatus = OrderStatus.COMPLETED,
        owner: str | None = None,
    ) -> AsyncGenerator[OrderEvent | None, None]:
        """The history after event number `after`, as it grows, of an order that was read.

        Ends, with all that has happened by then, once the order is in status `until` or cannot reach it any more. Yields None after each `heartbeat_s` seconds without a notice. Raises `OrderNotFound` when the order
        was rolled back.
        """
        with self._changes.watch(order.id) as changed:
            while True:
                for number, entry in enumerate(order.history[after:], start=after + 1):
                    yield OrderEvent(number, entry, order.currency)
                if not may_reach(order.status, until):
                    return
                after = max(after, len(order.history))
                if not await _is_set_within(changed, self._heartbeat_s):
                    yield None
                changed.clear()
                order = await self._orders.read(order.id, owner=owner)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

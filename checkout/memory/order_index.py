"""The index of orders in memory, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.archive import Position
from checkout.ports.order_index import OrderIdPage, Shopper, UnknownCursor


class MemoryOrderIndex:
    """`OrderIndex` in a dict."""

    def __init__(self) -> None:
        self._orders: dict[OrderId, Order] = {}

    def enter(self, order: Order) -> Awaitable[object]:
        """See `OrderIndex.enter`."""
        self._orders[order.id] = order
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entered.set_result(None)
        return entered

    async def of_owner(self, owner: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_owner`."""
        return _page(self._of(Shopper("owner", owner)), limit, after)

    async def of_email(self, email: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_email`."""
        return _page(self._of(Shopper("email", email)), limit, after)

    async def places(self, shopper: Shopper, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `OrderIndex.places`."""
        places = sorted(((order.created_at, order.id) for order in self._of(shopper)), reverse=True)
        behind = [place for place in places if after is None or place < (after.created_at, after.order_id)]
        return [Position(*place) for place in behind[:limit]]

    async def place(self, shopper: Shopper, order_id: OrderId) -> Position | None:
        """See `OrderIndex.place`."""
        return next((Position(each.created_at, each.id) for each in self._of(shopper) if each.id == order_id), None)

    def _of(self, shopper: Shopper) -> list[Order]:
        if shopper.by == "owner":
            return [order for order in self._orders.values() if order.owner == shopper.name]
        wanted = _normal(shopper.name)
        return [order for order in self._orders.values() if _normal(order.email) == wanted]

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `OrderIndex.by_number`."""
        return sorted(order.id for order in self._orders.values() if order.number == number)

    async def forget(self, order: Order) -> None:
        """See `OrderIndex.forget`."""
        if order.id in self._orders:
            self._orders[order.id] = msgspec.structs.replace(order, email="", owner=None)

    async def leave(self, order: Order) -> None:
        """See `OrderIndex.leave`."""
        self._orders.pop(order.id, None)


def _normal(email: str) -> str:
    return email.strip().casefold()


def _page(own: Sequence[Order], limit: int, after: OrderId | None) -> OrderIdPage:
    ids = [order.id for order in sorted(own, key=lambda order: (order.created_at, order.id), reverse=True)]
    if after is not None and after not in ids:
        raise UnknownCursor
    first = 0 if after is None else ids.index(after) + 1
    page = ids[first : first + limit]
    return OrderIdPage(page, page[-1] if first + limit < len(ids) else None)

"""Lists of orders: a shopper's own, and those that an operator looks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cart.errors import InvalidBody, SignInRequired
from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.order import Order
from checkout.ports.order_index import OrderIndex, UnknownCursor
from checkout.ports.orders import Orders

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100


class OrderPage(msgspec.Struct, frozen=True):
    """Some orders of a shopper, the latest first; `next_cursor` is None on the last page."""

    orders: Sequence[Order]
    next_cursor: str | None

    def to_json(self) -> bytes:
        """The page as the API sends it."""
        orders = b",".join(order.to_json() for order in self.orders)
        return b'{"orders":[%b],"next_cursor":%b}' % (orders, msgspec.json.encode(self.next_cursor))


class OrderLists:
    """Finds orders by owner and number, and reads them in their current state."""

    def __init__(self, orders: Orders, index: OrderIndex) -> None:
        self._orders = orders
        self._index = index

    async def of_owner(self, owner: str | None, *, limit: int = LIMIT_DEFAULT, cursor: str | None = None) -> OrderPage:
        """A page of the orders of a signed-in shopper, the latest first.

        Raises `SignInRequired`, and `InvalidBody` naming `/limit` (1 to 100) or `/cursor`.
        """
        if owner is None:
            raise SignInRequired
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidBody([("/limit", f"must be 1 to {LIMIT_MAX}")])
        after = None if cursor is None else parse_order_id(cursor)
        if cursor is not None and after is None:
            raise _foreign_cursor()
        try:
            page = await self._index.of_owner(owner, limit=limit, after=after)
        except UnknownCursor:
            raise _foreign_cursor() from None
        return OrderPage([order for order in await self._read(page.ids) if order.owner == owner], page.cursor)

    async def find(self, number_or_id: str) -> Sequence[Order]:
        """The orders with this number or id, for operators; blanks, a missing hyphen and the case do not matter."""
        text = number_or_id.strip()
        order_id = parse_order_id(text.lower())
        return await self._read([order_id] if order_id is not None else await self._index.by_number(_number(text)))

    async def _read(self, ids: Iterable[OrderId]) -> list[Order]:
        """These orders, without those that are not stored any more."""
        found = await asyncio.gather(*map(self._orders.read, ids))
        return [order for order in found if order is not None]


def _number(text: str) -> str:
    """The order number as it is stored, from one that a person typed."""
    letters = "".join(text.split()).replace("-", "").upper()
    return f"{letters[:5]}-{letters[5:]}"


def _foreign_cursor() -> InvalidBody:
    return InvalidBody([("/cursor", "is not the next_cursor of a page of these orders")])

"""Finding orders by their owner, e-mail address and number."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

import msgspec

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.archive import Position


class UnknownCursor(Exception):
    """No page of these orders ends with that order."""


class OrderIdPage(msgspec.Struct, frozen=True):
    """The ids of some orders, the latest first. `cursor` begins the next page; None on the last one."""

    ids: Sequence[OrderId]
    cursor: OrderId | None


class Shopper(msgspec.Struct, frozen=True):
    """A signed-in shopper, or whoever has an e-mail address."""

    by: Literal["owner", "email"]
    name: str


class OrderIndex(Protocol):
    """The ids of orders by owner, e-mail address and number. Owners and addresses are stored as keyed hashes.

    An order is entered when it is stored, and again by the worker that takes it up: the first entry may be lost with its
    process. So an order may be missing for as long as it waits in the queue, and never longer. Entries go with the
    order when it leaves the store for the archive, which has an index of its own: `checkout.archive.orders` finds in both.
    """

    def enter(self, order: Order) -> Awaitable[object]:
        """Enter a stored order; may be repeated. It is begun at once, also if the result is never awaited."""
        ...

    async def of_owner(self, owner: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """A page of the owner's orders, the latest first, behind the order `after`. Raises `UnknownCursor`."""
        ...

    async def of_email(self, email: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """A page of the orders with this e-mail address, in any case; as `of_owner`."""
        ...

    async def places(self, shopper: Shopper, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """Up to `limit` orders of the shopper behind a place, the latest first; the order of that place may be gone."""
        ...

    async def place(self, shopper: Shopper, order_id: OrderId) -> Position | None:
        """The place of an order among those of the shopper; None if it is none of them."""
        ...

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """The orders that have this number: nearly always one or none."""
        ...

    async def forget(self, order: Order) -> None:
        """Remove the order, which has its personal members still, from its owner and its e-mail address."""
        ...

    async def leave(self, order: Order) -> None:
        """Remove an order that leaves the store; may be repeated."""
        ...

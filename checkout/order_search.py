"""An operator's search for orders: by number, id, e-mail address, status and age."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.errors import OrderNotFound
from checkout.order import Order
from checkout.order_lists import LIMIT_DEFAULT, LIMIT_MAX, OrderLists
from checkout.order_status import NEXT, OrderStatus
from checkout.ports.order_index import OrderIndex, UnknownCursor
from checkout.ports.order_listing import Listed, OrderListing
from checkout.ports.orders import Orders
from checkout.ports.progress import Attention, Progress

IN_FLIGHT: Final = "in_flight"
ATTENTION: Final = "attention"
# What an operator asks for, and the statuses of it; orders that need attention have a list of their own.
STATES: Final[Mapping[str, Collection[OrderStatus]]] = {
    IN_FLIGHT: tuple(NEXT),
    ATTENTION: (),
    **{status.value: (status,) for status in OrderStatus},
}


class AmbiguousNumber(Exception):
    """Several orders have this number; `ids` are theirs."""

    def __init__(self, ids: Sequence[OrderId]) -> None:
        # Without the ids, with which the orders can be read: this text is logged.
        super().__init__(f"{len(ids)} orders have this number; find them and name one by its id")
        self.ids = ids


class FoundOrder(msgspec.Struct, frozen=True):
    """An order with how long it has been so: in its status, or in need of attention for `attention`, in seconds."""

    order: Order
    age_s: float
    attention: str | None = None


class FoundPage(msgspec.Struct, frozen=True):
    """Some orders; `cursor` begins the next page, None on the last one."""

    orders: Sequence[FoundOrder]
    cursor: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders of a state: those that have had it for `older_s` at least and `younger_s` at most."""

    state: str = IN_FLIGHT
    older_s: float = 0.0
    younger_s: float | None = None
    newest_first: bool = False
    limit: int = LIMIT_DEFAULT
    cursor: str | None = None


class OrderSearch:
    """Finds orders, and reads them in their current state. All calls raise the errors of the ports."""

    def __init__(self, orders: Orders, index: OrderIndex, listing: OrderListing, progress: Progress) -> None:
        self._orders = orders
        self._index = index
        self._listing = listing
        self._progress = progress
        self._lists = OrderLists(orders, index)

    async def find(self, number_or_id: str) -> Sequence[Order]:
        """The orders with this number or id; blanks, a missing hyphen and the case do not matter."""
        return await self._lists.find(number_or_id)

    async def named(self, number_or_id: str) -> FoundPage:
        """The orders that `find` finds, as a page."""
        now = await self._listing.now_ms()
        return FoundPage([_found(order, now) for order in await self.find(number_or_id)], None)

    async def one(self, number_or_id: str) -> Order:
        """The order with this number or id. Raises `OrderNotFound` and `AmbiguousNumber`."""
        found = await self.find(number_or_id)
        if not found:
            raise OrderNotFound
        if len(found) > 1:
            raise AmbiguousNumber([order.id for order in found])
        return found[0]

    async def of_email(self, email: str, *, limit: int = LIMIT_DEFAULT, cursor: str | None = None) -> FoundPage:
        """A page of the orders with this e-mail address, the latest first. Raises `ValueError` for another cursor or limit."""
        _check_limit(limit)
        after = None if cursor is None else parse_order_id(cursor)
        if cursor is not None and after is None:
            raise ValueError(_FOREIGN_CURSOR)
        try:
            page = await self._index.of_email(email, limit=limit, after=after)
        except UnknownCursor:
            raise ValueError(_FOREIGN_CURSOR) from None
        now = await self._listing.now_ms()
        return FoundPage([_found(order, now) for order in await self._read(page.ids)], page.cursor)

    async def page(self, selection: Selection) -> FoundPage:
        """A page of the orders in a state, those longest in it first unless `newest_first`.

        An order that has left the state since the list was read is left out. Raises `ValueError` for a state, limit or
        cursor that is none.
        """
        _check_limit(selection.limit)
        if selection.state not in STATES:
            raise ValueError(f"there is no state {selection.state!r}; the states are {', '.join(STATES)}")
        after = None if selection.cursor is None else _parse_cursor(selection.cursor)
        if selection.state == ATTENTION:
            return await self._needing_attention(selection, after)
        listed = await self._listing.page(
            STATES[selection.state],
            limit=selection.limit,
            after=after,
            older_s=selection.older_s,
            younger_s=selection.younger_s,
            newest_first=selection.newest_first,
        )
        now = await self._listing.now_ms()
        since = {each.order_id: each.at for each in listed}
        found = [
            FoundOrder(order, _age_s(since[order.id], now))
            for order in await self._read(since)
            if order.status in STATES[selection.state]
        ]
        return FoundPage(found, _cursor(listed, selection.limit))

    async def attention_of(self, order_id: OrderId) -> Attention | None:
        """Why the order needs attention, if it does."""
        return next((each for each in await self._progress.needing_attention() if each.order_id == order_id), None)

    async def age_s(self, order: Order) -> float:
        """For how long the order has had its status, in seconds by the clock of the store."""
        return _found(order, await self._listing.now_ms()).age_s

    async def counts(self) -> Mapping[OrderStatus, int]:
        """The number of orders in each status."""
        return await self._listing.counts()

    async def _needing_attention(self, selection: Selection, after: Listed | None) -> FoundPage:
        now = await self._listing.now_ms()
        reasons = {Listed(each.at, each.order_id): each.reason for each in await self._progress.needing_attention()}
        listed = sorted(reasons, key=_position, reverse=selection.newest_first)
        listed = [each for each in listed if _is_selected(each, selection, now)]
        if after is not None:
            listed = [each for each in listed if _is_behind(each, after, newest_first=selection.newest_first)]
        page = listed[: selection.limit]
        by_id = {each.order_id: each for each in page}
        found = [
            FoundOrder(order, _age_s(by_id[order.id].at, now), reasons[by_id[order.id]])
            for order in await self._read(by_id)
        ]
        return FoundPage(found, _cursor(page, selection.limit) if len(listed) > len(page) else None)

    async def _read(self, ids: Collection[OrderId]) -> list[Order]:
        found = await asyncio.gather(*map(self._orders.read, ids))
        return [order for order in found if order is not None]


_FOREIGN_CURSOR: Final = "the cursor is not that of a page of these orders"


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"the limit must be 1 to {LIMIT_MAX}")


def _cursor(listed: Sequence[Listed], limit: int) -> str | None:
    """The cursor of the next page; None if this one is not full."""
    return f"{listed[-1].at}:{listed[-1].order_id}" if len(listed) == limit else None


def _parse_cursor(cursor: str) -> Listed:
    at, _, text = cursor.partition(":")
    order_id = parse_order_id(text)
    if order_id is None or not (at.isascii() and at.isdecimal()) or len(at) > 15:
        raise ValueError(_FOREIGN_CURSOR)
    return Listed(int(at), order_id)


def _is_selected(listed: Listed, selection: Selection, now_ms: int) -> bool:
    age_s = _age_s(listed.at, now_ms)
    return age_s >= selection.older_s and (selection.younger_s is None or age_s <= selection.younger_s)


def _position(listed: Listed) -> tuple[int, str]:
    return listed.at, listed.order_id


def _is_behind(listed: Listed, after: Listed, *, newest_first: bool) -> bool:
    if newest_first:
        return _position(listed) < _position(after)
    return _position(listed) > _position(after)


def _age_s(since_ms: int, now_ms: int) -> float:
    return max(0, now_ms - since_ms) / 1000


def _found(order: Order, now_ms: int) -> FoundOrder:
    since_ms = next(entry.at for entry in order.history if entry.status is order.status)
    return FoundOrder(order, _age_s(since_ms, now_ms))

"""The orders of the store and of the archive as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from cart.model import OrderId
from checkout.archive.archived import Records
from checkout.errors import ChangeNotDurable, OrderElsewhere, OrderNotFound, StatusConflict
from checkout.facts import Fact
from checkout.order import Order
from checkout.ports.archive import Archive, Position
from checkout.ports.order_index import OrderIdPage, OrderIndex, Shopper, UnknownCursor
from checkout.ports.orders import Orders, Receipt
from checkout.ports.outbox import OutboxEntry
from checkout.ports.records import OrderRecords
from checkout.privacy.pseudonyms import Pseudonyms


class ArchivedOrders:
    """The orders that are in the archive and not in the store.

    `message` encodes the message of an order that goes on. All calls raise `ArchiveUnavailable` and the errors of the store.
    """

    def __init__(
        self, archive: Archive, records: Records, stored: OrderRecords, *, message: Callable[[Order], bytes]
    ) -> None:
        self._archive = archive
        self._records = records
        self._stored = stored
        self._message = message

    async def read(self, order_id: OrderId) -> Order | None:
        """The order at its latest revision in the archive, None if it is not there. It has its `home` if that is elsewhere."""
        record = await self._archive.read(order_id)
        if record is None:
            return None
        order = await self._records.order(record)
        return order if record.home == self._records.home else msgspec.structs.replace(order, home=record.home)

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """The order with its idempotency key; see `Orders.receipt`."""
        record = await self._archive.read(order_id)
        return None if record is None else await self._records.receipt(record)

    async def has_ended(self, order_id: OrderId) -> bool:
        """Whether the order is in the archive, and there was nothing left to do when it was archived."""
        order = await self.read(order_id)
        return order is not None and order.status.has_ended and not order.facts

    async def restore(self, order_id: OrderId) -> bool:
        """Bring the order back to the store, so that it can be changed; False if the archive has no such order.

        Raises `OrderElsewhere` for an order whose home is another Region.
        """
        record = await self._archive.read(order_id)
        if record is None:
            return False
        if record.home != self._records.home:
            raise OrderElsewhere(record.home)
        order = await self._records.order(record)
        await self._stored.restore(record, self._message(order.as_accepted()))
        return True


class WholeOrders:
    """`Orders` of the store and of the archive as one, for shoppers, webhooks and operators.

    Reads fall back to the archive. A change of an order that is there only brings it back to the store first. Both raise
    `ArchiveUnavailable`, and a change `OrderElsewhere`. Workers use the orders of the store, to which these are passed on.
    """

    def __init__(self, orders: Orders, archived: ArchivedOrders) -> None:
        self._orders = orders
        self._archived = archived
        self.has_key = orders.has_key
        self.begin = orders.begin
        self.commit = orders.commit
        self.roll_back = orders.roll_back
        self.release = orders.release
        self.transition = orders.transition
        self.update = orders.update
        self.settle = orders.settle

    async def read(self, order_id: OrderId) -> Order | None:
        """See `Orders.read`."""
        order = await self._orders.read(order_id)
        return await self._archived.read(order_id) if order is None else order

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """See `Orders.receipt`."""
        receipt = await self._orders.receipt(order_id)
        return await self._archived.receipt(order_id) if receipt is None else receipt

    async def append_fact(self, order_id: OrderId, fact: Fact, *, message: bytes) -> OutboxEntry | None:
        """See `Orders.append_fact`."""
        try:
            return await self._orders.append_fact(order_id, fact, message=message)
        except OrderNotFound:
            if not await self._archived.restore(order_id):
                raise
        return await self._orders.append_fact(order_id, fact, message=message)

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """See `Orders.cancel`."""
        try:
            return await self._orders.cancel(order, at=at, message=message)
        except StatusConflict as conflict:
            if conflict.current or not await self._archived.restore(order.id):
                raise
        return await self._orders.cancel(order, at=at, message=message)

    async def make_durable(self, order: Order) -> None:
        """See `Orders.make_durable`."""
        try:
            await self._orders.make_durable(order)
        except ChangeNotDurable:
            archived = await self._archived.read(order.id)
            if archived is None or archived.revision < order.revision:
                raise


class ArchivedOrderIndex:
    """`OrderIndex` over the orders of the store and those of the archive."""

    def __init__(self, index: OrderIndex, archive: Archive, pseudonyms: Pseudonyms) -> None:
        self._index = index
        self._archive = archive
        self._pseudonyms = pseudonyms
        self.enter = index.enter
        self.leave = index.leave
        # Of the store: that of the archive is part of `Archive.erase`.
        self.forget = index.forget

    async def of_owner(self, owner: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_owner`. Raises `ArchiveUnavailable` too: a list without some orders would be wrong."""
        return await self._page(Shopper("owner", owner), limit, after)

    async def of_email(self, email: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_email`. Raises `ArchiveUnavailable` too."""
        return await self._page(Shopper("email", email), limit, after)

    async def places(self, shopper: Shopper, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `OrderIndex.places`."""
        find = self._archive.of_owner if shopper.by == "owner" else self._archive.of_email
        stored, archived = await asyncio.gather(
            self._index.places(shopper, limit=limit, after=after),
            find(self._hash_of(shopper), limit=limit, after=after),
        )
        # Most orders are in both. Each has its first `limit`, and the first `limit` of both are among them.
        return sorted({*stored, *archived}, key=lambda each: (each.created_at, each.order_id), reverse=True)[:limit]

    async def place(self, shopper: Shopper, order_id: OrderId) -> Position | None:
        """See `OrderIndex.place`."""
        place = await self._index.place(shopper, order_id)
        if place is not None:
            return place
        record = await self._archive.read(order_id)
        if record is None or self._hash_of(shopper) != (
            record.owner_hash if shopper.by == "owner" else record.email_hash
        ):
            return None
        return Position(record.created_at, order_id)

    async def _page(self, shopper: Shopper, limit: int, after: OrderId | None) -> OrderIdPage:
        place = None if after is None else await self.place(shopper, after)
        if place is None and after is not None:
            raise UnknownCursor
        places = await self.places(shopper, limit=limit + 1, after=place)
        ids = [each.order_id for each in places[:limit]]
        return OrderIdPage(ids, ids[-1] if len(places) > limit else None)

    def _hash_of(self, shopper: Shopper) -> str:
        return (
            self._pseudonyms.of_owner(shopper.name)
            if shopper.by == "owner"
            else self._pseudonyms.of_email(shopper.name)
        )

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `OrderIndex.by_number`."""
        stored, archived = await asyncio.gather(self._index.by_number(number), self._archive.by_number(number))
        return sorted({*stored, *archived})

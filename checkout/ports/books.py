"""The books of the shop: the record of each order, beside the lists, holds and messages that must agree with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId, Sku
from checkout.order import Order
from checkout.order_status import OrderStatus


class Hold(msgspec.Struct, frozen=True):
    """Units of a SKU that an order holds. `until_ms` is None for a sale."""

    quantity: int
    until_ms: int | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """All that the store says of one order, at one moment but for `holds` and `has_number`.

    `order` is None if there is none, or if it cannot be read: `fault` says why then. Its personal members may be sealed.
    `status` is the one that scripts compare, `listed` are the lists of statuses that have the order. `seen_ms` is the time of
    its last sign of life in flight, `aside` the status in which it was set aside, `lease_until_ms` the end of a worker's lease.
    `now_ms` is the time of the store. Times are Unix milliseconds.
    """

    id: OrderId
    now_ms: int
    order: Order | None = None
    fault: str | None = None
    status: str = ""
    listed: tuple[OrderStatus, ...] = ()
    seen_ms: int | None = None
    is_finished: bool = False
    aside: str | None = None
    needs_attention: bool = False
    lease_until_ms: int = 0
    has_number: bool = True
    holds: Mapping[Sku, Hold] = {}

    @property
    def is_named(self) -> bool:
        """Whether any list names it. An order that is deleted, as those in the archive are, leaves all lists with its record."""
        return bool(self.listed) or self.seen_ms is not None or self.is_finished or self.needs_attention

    @property
    def is_set_aside(self) -> bool:
        """Whether it waits for a person, and nothing was told of it since."""
        return self.aside == self.status and not (self.order and self.order.facts)


class Waiting(msgspec.Struct, frozen=True):
    """The open claim of a cart, or the outbox entry of an order, which waits for so long. `name` identifies it."""

    name: str
    waits_ms: int


class StockBook(msgspec.Struct, frozen=True):
    """The units of a SKU at one moment: for sale, and their sources and sinks. `held` are those of all holds and sales."""

    available: int
    imported: int
    adjusted: int
    sold: int
    held: int

    @property
    def expected(self) -> int:
        """The units that should be for sale."""
        return self.imported + self.adjusted - self.sold - self.held


class StockRecord(msgspec.Struct, frozen=True):
    """The available units of a SKU, as they are stored, and a page of its `holds`.

    A product that `is_sold_ahead` may have fewer than none. `strays` are those without an order, `ended` the orders that hold some though they are finished. There is no `book` of a SKU that earlier
    versions imported, until it is counted or imported again; that of very many holds is in the last record.
    """

    sku: Sku
    available: str | None
    holds: int
    strays: Mapping[OrderId, Hold]
    ended: Sequence[OrderId]
    now_ms: int
    book: StockBook | None = None
    is_sold_ahead: bool = False


class Books(Protocol):
    """Reads the books beside live traffic. Every call of the store is bounded; all raise the errors of the store."""

    @property
    def partitions(self) -> Sequence[str]:
        """The names of all partitions."""
        ...

    def orders(self, partition: str) -> AsyncIterator[Sequence[OrderId]]:
        """Pages of the orders that any list of the partition names, whether or not they exist; some more than once."""
        ...

    def changed(self, partition: str, *, since_ms: int, idle_ms: int) -> AsyncIterator[Sequence[OrderId]]:
        """Pages of the orders whose place in a list is of `since_ms` or later; some more than once.

        With them come those in flight without a sign of life since `idle_ms`, and all that need attention. Times of the store.
        """
        ...

    async def now_ms(self) -> int:
        """The time of the store."""
        ...

    def records(self) -> AsyncIterator[Sequence[OrderId]]:
        """Pages of the orders that have a record, found without any list: each of one partition, or empty; some orders more than once."""
        ...

    async def unlisted(self, order_ids: Sequence[OrderId]) -> Sequence[OrderId]:
        """Those of these orders of one partition that have a record, and that no list names."""
        ...

    async def entries(self, order_ids: Sequence[OrderId], *, has_all_holds: bool = True) -> Sequence[Entry]:
        """The entries of these orders, in any sequence; those of finished orders may come without their holds unless `has_all_holds`."""
        ...

    async def outbox(self, partition: str) -> Sequence[Waiting]:
        """The oldest messages that the queue does not have, by the id of their order."""
        ...

    def claims(self, partition: str) -> AsyncIterator[Sequence[Waiting]]:
        """Pages of the open claims, by "cart id version"."""
        ...

    def stock(self, sku: Sku) -> AsyncIterator[StockRecord]:
        """The stock of a SKU: a record for each page of its holds, and one if it has none."""
        ...

"""The books in memory, for tests: the lists are those of `MemoryOrders`, so an order is always in that of its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from cart.ids import partition_of
from cart.model import OrderId, Sku
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.memory.stock import MemoryStock
from checkout.ports.books import Entry, StockBook, StockRecord, Waiting
from checkout.ports.order_index import OrderIndex


class MemoryBooks:
    """`Books` beside the orders."""

    def __init__(
        self,
        orders: MemoryOrders,
        progress: MemoryProgress,
        stock: MemoryStock,
        index: OrderIndex,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._orders = orders
        self._progress = progress
        self._stock = stock
        self._index = index
        self._clock_ms = clock_ms

    @property
    def partitions(self) -> Sequence[str]:
        """See `Books.partitions`."""
        named = {*self._orders.orders, *self._orders.in_flight, *self._orders.ended}
        waiting = (
            [partition_of(name) for name, _ in self._orders.posted()],
            [partition_of(cart_id) for cart_id, _, _ in self._orders.begun()],
        )
        return sorted({partition_of(each) for each in named}.union(*waiting))

    async def orders(self, partition: str) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.orders`."""
        for ids in (self._orders.orders, self._orders.in_flight, self._orders.ended):
            yield [each for each in ids if partition_of(each) == partition]

    async def changed(self, partition: str, *, since_ms: int, idle_ms: int) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.changed`."""
        seen = self._orders.in_flight
        recent = [each for ids in (seen, self._orders.ended) for each, at in ids.items() if at >= since_ms]
        idle = [each for each, at in seen.items() if at <= idle_ms]
        attention = [each.order_id for each in await self._progress.needing_attention()]
        yield [each for each in (*recent, *idle, *attention) if partition_of(each) == partition]

    async def now_ms(self) -> int:
        """See `Books.now_ms`."""
        return self._clock_ms()

    async def records(self) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.records`."""
        for partition in self.partitions:
            yield [each for each in self._orders.orders if partition_of(each) == partition]

    async def unlisted(self, order_ids: Sequence[OrderId]) -> Sequence[OrderId]:  # noqa: ARG002 - a record is listed
        """See `Books.unlisted`. Here the records are a list."""
        return ()

    async def entries(self, order_ids: Sequence[OrderId], *, has_all_holds: bool = True) -> Sequence[Entry]:  # noqa: ARG002 - all holds are at hand
        """See `Books.entries`."""
        attention = {each.order_id for each in await self._progress.needing_attention()}
        return [await self._entry(each, needs_attention=each in attention) for each in order_ids]

    async def _entry(self, order_id: OrderId, *, needs_attention: bool) -> Entry:
        order = await self._orders.read(order_id)
        now_ms, seen_ms = self._clock_ms(), self._orders.in_flight.get(order_id)
        if order is None:
            return Entry(id=order_id, now_ms=now_ms, seen_ms=seen_ms, is_finished=order_id in self._orders.ended)
        return Entry(
            id=order_id,
            now_ms=now_ms,
            order=order,
            status=order.status,
            listed=(order.status,),
            seen_ms=seen_ms,
            is_finished=order_id in self._orders.ended,
            aside=self._progress.aside_status(order_id),
            needs_attention=needs_attention,
            lease_until_ms=self._progress.lease_until_ms(order_id),
            has_number=order_id in await self._index.by_number(order.number),
            holds={sku: held[order_id] for sku in order.skus if order_id in (held := self._stock.holds(sku))},
        )

    async def outbox(self, partition: str) -> Sequence[Waiting]:
        """See `Books.outbox`."""
        now = self._clock_ms()
        return [Waiting(name, now - at) for name, at in self._orders.posted() if partition_of(name) == partition]

    async def claims(self, partition: str) -> AsyncIterator[Sequence[Waiting]]:
        """See `Books.claims`."""
        now = self._clock_ms()
        yield [
            Waiting(f"{cart_id} {version}", now - at)
            for cart_id, version, at in self._orders.begun()
            if partition_of(cart_id) == partition
        ]

    async def stock(self, sku: Sku) -> AsyncIterator[StockRecord]:
        """See `Books.stock`."""
        holds = self._stock.holds(sku)
        strays = {each: hold for each, hold in holds.items() if each not in self._orders.orders}
        available = self._stock.available.get(sku)
        ended = [each for each in holds if each in self._orders.ended and each not in self._orders.in_flight]
        yield StockRecord(
            sku,
            None if available is None else str(available),
            len(holds),
            strays,
            ended,
            self._clock_ms(),
            None if available is None else self._book(sku, available),
            is_sold_ahead=sku in self._stock.ahead,
        )

    def _book(self, sku: Sku, available: int) -> StockBook:
        stock = self._stock
        return StockBook(available, stock.imported[sku], stock.adjusted[sku], stock.sold[sku], stock.taken(sku))

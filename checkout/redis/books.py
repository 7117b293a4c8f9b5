"""The books in Redis or Valkey: pages of the lists of a partition, and one script for the entries of some orders."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from cart.ids import partition_of
from cart.model import OrderId, Sku
from cart.sku_keys import holds_key, product_key
from checkout.order import Order
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.books import Entry, StockRecord, Waiting
from checkout.redis.held_units import HeldUnits
from checkout.redis.holds import MOST_HOLDS, book_of, hold_of, pages_of_hash
from checkout.stored import (
    ALL_PARTITIONS,
    attention_key,
    decode_order,
    ended_key,
    in_flight_key,
    number_key,
    open_claims_key,
    order_key,
    outbox_key,
    status_key,
)
from store import Script, Store

PAGE_OF_LIST: Final = Script.from_package("checkout.redis", "scripts/page_of_list.lua")
UNLISTED: Final = Script.from_package("checkout.redis", "scripts/unlisted.lua")
READ_ENTRIES: Final = Script.from_package("checkout.redis", "scripts/read_entries.lua")
STOCK_SUM: Final = Script.from_package("checkout.redis", "scripts/stock_sum.lua")
# Of one call.
PAGE: Final = 500
# Records of one partition, of one call.
RECORDS: Final = 50
_STATUSES: Final = tuple(OrderStatus)


class RedisBooks:
    """`Books` on a store. It decodes no personal data, so it needs no key."""

    partitions = ALL_PARTITIONS

    def __init__(self, store: Store) -> None:
        self._store = store

    async def orders(self, partition: str) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.orders`."""
        async for page in pages_of_hash(self._store, attention_key(partition), PAGE):
            yield _ids(page)
        for key in _lists(partition):
            async for ids in self._by_score(key):
                yield ids

    async def changed(self, partition: str, *, since_ms: int, idle_ms: int) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.changed`."""
        async for page in pages_of_hash(self._store, attention_key(partition), PAGE):
            yield _ids(page)
        for key in _lists(partition):
            async for ids in self._by_score(key, since_ms):
                yield ids
        async for ids in self._by_score(in_flight_key(partition), until=idle_ms):
            yield ids

    async def _by_score(
        self, key: str, since: float = -math.inf, until: float = math.inf
    ) -> AsyncIterator[Sequence[OrderId]]:
        """Pages of a sorted set. An order that changes meanwhile moves towards the end, so it is not missed."""
        last, score = b"", str(since).encode()
        while page := await self._store.run(PAGE_OF_LIST, [key], [last, score, PAGE]):
            last, score = page[-2:]
            yield [each for each, at in zip(_ids(page[::2]), page[1::2], strict=True) if float(at) <= until]
            if float(score) > until:
                return

    async def records(self) -> AsyncIterator[Sequence[OrderId]]:
        """See `Books.records`. Records come in no sequence, so they are gathered by partition."""
        cursor: Any = b"0"
        gathered: dict[str, list[OrderId]] = {}
        while True:
            cursor, keys = await self._store.execute("SCAN", cursor, "MATCH", "{??}o:*", "COUNT", PAGE)
            for key in keys:
                order_id = OrderId(key.decode().partition(":")[2])
                gathered.setdefault(partition_of(order_id), []).append(order_id)
            is_last = cursor == b"0"
            full = [each for each, ids in gathered.items() if is_last or len(ids) >= RECORDS]
            for partition in full:
                yield gathered.pop(partition)
            if is_last:
                return
            if not full:
                yield ()

    async def unlisted(self, order_ids: Sequence[OrderId]) -> Sequence[OrderId]:
        """See `Books.unlisted`."""
        if not order_ids:
            return ()
        partition = partition_of(order_ids[0])
        lists = _lists(partition)
        keys = [attention_key(partition), *lists, *map(order_key, order_ids)]
        return _ids(await self._store.run(UNLISTED, keys, [len(lists), *order_ids]))

    async def entries(self, order_ids: Sequence[OrderId], *, has_all_holds: bool = True) -> Sequence[Entry]:
        """See `Books.entries`. The orders may be of any partitions."""
        by_partition: dict[str, list[OrderId]] = {}
        for order_id in order_ids:
            by_partition.setdefault(partition_of(order_id), []).append(order_id)
        parts = await asyncio.gather(*(self._read(partition, ids) for partition, ids in by_partition.items()))
        return await asyncio.gather(
            *(self._with_rest(entry, has_all_holds=has_all_holds) for part in parts for entry in part)
        )

    async def _read(self, partition: str, ids: Sequence[OrderId]) -> Sequence[Entry]:
        keys = [
            in_flight_key(partition),
            ended_key(partition),
            attention_key(partition),
            *_status_keys(partition),
            *(order_key(each) for each in ids),
        ]
        now_ms, *found = await self._store.run(READ_ENTRIES, keys, [len(_STATUSES), *ids])
        return [_entry(order_id, now_ms, fields) for order_id, fields in zip(ids, found, strict=True)]

    async def _with_rest(self, entry: Entry, *, has_all_holds: bool) -> Entry:
        """The entry with the holds and the number, which are in other slots: read later, so that no hold of an order that ended is missing."""
        if entry.order is None:
            return entry
        # A call for each SKU: most orders are finished, and `stock` finds those of them that hold some.
        is_asked = has_all_holds or not entry.is_finished or entry.seen_ms is not None
        skus = entry.order.skus if is_asked else ()
        same_number, *holds = await asyncio.gather(
            self._store.execute("SMEMBERS", number_key(order_number(entry.id))),
            *(self._store.execute("HGET", holds_key(sku), entry.id) for sku in skus),
        )
        held = {sku: hold_of(text) for sku, text in zip(skus, holds, strict=True) if text is not None}
        return msgspec.structs.replace(entry, has_number=entry.id.encode() in same_number, holds=held)

    async def outbox(self, partition: str) -> Sequence[Waiting]:
        """See `Books.outbox`."""
        entries, now_ms = await asyncio.gather(
            self._store.execute("XRANGE", outbox_key(partition), "-", "+", "COUNT", PAGE), self.now_ms()
        )
        return [
            Waiting(fields[1].decode(), now_ms - int(entry_id.partition(b"-")[0])) for entry_id, fields in entries or ()
        ]

    async def claims(self, partition: str) -> AsyncIterator[Sequence[Waiting]]:
        """See `Books.claims`."""
        now_ms = await self.now_ms()
        async for page in pages_of_hash(self._store, open_claims_key(partition), PAGE):
            yield [Waiting(name.decode(), now_ms - int(note.partition(b"\n")[0])) for name, note in page.items()]

    async def stock(self, sku: Sku) -> AsyncIterator[StockRecord]:
        """See `Books.stock`. The book of very many holds comes in a record of its own."""
        units = HeldUnits(self._store, sku) if await self._has_very_many_holds(sku) else None
        if units is not None:
            await units.begin()
        async for page in pages_of_hash(self._store, holds_key(sku), PAGE):
            if units is not None:
                await units.add(page)
            yield await self._page_of_stock(sku, page)
        if units is not None:
            record = await self._page_of_stock(sku, {})
            yield msgspec.structs.replace(record, book=await units.book())

    async def _has_very_many_holds(self, sku: Sku) -> bool:
        *_, held = await self._stock_sum(sku)
        return not held

    async def _stock_sum(self, sku: Sku) -> Sequence[bytes]:
        sums: Sequence[bytes] = await self._store.run(STOCK_SUM, [product_key(sku), holds_key(sku)], [MOST_HOLDS])
        return sums

    async def _page_of_stock(self, sku: Sku, page: Mapping[bytes, bytes]) -> StockRecord:
        ids = _ids(page)
        sums, is_sold_ahead, now_ms, exist, ended = await asyncio.gather(
            self._stock_sum(sku),
            self._store.execute("HEXISTS", product_key(sku), "sold_ahead"),
            self.now_ms(),
            self._all("EXISTS", [[order_key(each)] for each in ids]),
            self._all("ZSCORE", [[ended_key(partition_of(each)), each] for each in ids]),
        )
        holds = zip(ids, page.values(), exist, strict=True)
        return StockRecord(
            sku,
            sums[0].decode() or None,
            len(ids),
            strays={order_id: hold_of(text) for order_id, text, is_there in holds if not is_there},
            ended=[order_id for order_id, at in zip(ids, ended, strict=True) if at is not None],
            now_ms=now_ms,
            book=book_of(sums[:4], int(sums[4])) if sums[4] else None,
            is_sold_ahead=bool(is_sold_ahead),
        )

    async def _all(self, command: str, arguments: Sequence[Sequence[str]]) -> Sequence[Any]:
        return await asyncio.gather(*(self._store.execute(command, *each) for each in arguments))

    async def now_ms(self) -> int:
        """See `Books.now_ms`."""
        seconds, microseconds = await self._store.execute("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000


def _status_keys(partition: str) -> list[str]:
    return [status_key(partition, status) for status in _STATUSES]


def _lists(partition: str) -> list[str]:
    return [*_status_keys(partition), in_flight_key(partition), ended_key(partition)]


def _ids(names: Any) -> list[OrderId]:
    return [OrderId(name.decode()) for name in names]


def _entry(order_id: OrderId, now_ms: int, fields: Sequence[Any]) -> Entry:
    doc, state, facts, status, aside, lease, seen_ms, ended_ms, attention, listed = fields
    order, fault = _decoded(doc, state, facts)
    return Entry(
        id=order_id,
        now_ms=now_ms,
        order=order,
        fault=fault,
        status=(status or b"").decode(),
        listed=tuple(_STATUSES[number - 1] for number in listed),
        seen_ms=None if seen_ms is None else int(float(seen_ms)),
        is_finished=ended_ms is not None,
        aside=None if aside is None else aside.split()[0].decode(),
        needs_attention=attention is not None,
        lease_until_ms=0 if lease is None else int(lease.split()[-1]),
    )


def _decoded(doc: bytes | None, state: bytes | None, facts: bytes | None) -> tuple[Order | None, str | None]:
    if doc is None:
        return None, None
    try:
        return decode_order(doc, state, facts), None
    except ValueError as error:  # msgspec's are among these
        return None, str(error)

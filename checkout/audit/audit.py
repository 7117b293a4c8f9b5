"""The run of an audit: a partition after the other, and a second look at suspects."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec

from cart.ids import partition_of
from cart.model import CartId, OrderId, Sku
from checkout.audit.finding import DEFAULT_BOUNDS, Bounds, Finding
from checkout.audit.pacer import Pacer
from checkout.audit.rules import ORDER_RULES
from checkout.audit.rules.stock import stock, stray_hold
from checkout.audit.rules.stock_sum import stock_sum
from checkout.audit.rules.waiting import claim, outbox
from checkout.ports.books import Books, Entry

CONFIRM_AFTER_S: Final = 5.0
T = TypeVar("T")
# Orders of one look.
PAGE: Final = 50
# Records that cost as much to look up in the lists as one does to read.
LOOKED_UP: Final = 10


class AuditReport(msgspec.Struct, frozen=True):
    """`counts` are the numbers of orders that are `in_flight`, `set_aside`, or in each of the statuses of an end."""

    looked_at: int = 0
    partitions: int = 0
    of_partitions: int = 0
    suspects: int = 0
    counts: Mapping[str, int] = {}
    findings: Sequence[Finding] = ()


class Audit:
    """Audits all books: `rate` records a second at most, of orders, holds and all that waits.

    A suspect breaks a rule. It is looked at again `confirm_after_s` later, and is a finding if it still breaks the same one: beside
    live traffic, the parts of an order are read at different moments.
    """

    def __init__(
        self,
        books: Books,
        *,
        bounds: Bounds = DEFAULT_BOUNDS,
        rate: float = 1000.0,
        confirm_after_s: float = CONFIRM_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._books = books
        self._bounds = bounds
        self._pacer = Pacer(rate, clock=clock, sleep=sleep)
        self._confirm_after_s = confirm_after_s
        self._sleep = sleep

    async def run(self, progress: Callable[[AuditReport], None] = lambda _report: None) -> AuditReport:
        """Look at everything once, and at suspects twice."""
        looked_at = 0
        counts: Counter[str] = Counter()
        suspects: list[Finding] = []
        skus: set[Sku] = set()
        partitions = self._books.partitions
        for done, partition in enumerate(partitions):
            suspects += await self._waiting(partition)
            async for entries in self._entries(partition):
                looked_at += len(entries)
                counts.update(_became(entry) for entry in entries if entry.order is not None)
                skus.update(line.sku for entry in entries if entry.order is not None for line in entry.order.lines)
                suspects += self._of_orders(entries)
            progress(AuditReport(looked_at, done + 1, len(partitions), len(suspects), dict(counts)))
        async for entries in self._unlisted():
            looked_at += len(entries)
            counts.update(_became(entry) for entry in entries if entry.order is not None)
            suspects += self._of_orders(entries)
        for sku in sorted(skus):
            suspects += await self._of_stock(sku)
        findings = await self._confirmed(suspects)
        return AuditReport(looked_at, len(partitions), len(partitions), len(suspects), dict(counts), findings)

    async def _entries(self, partition: str) -> AsyncIterator[Sequence[Entry]]:
        """Each order of a partition once."""
        seen: set[OrderId] = set()
        async for names in self._books.orders(partition):
            new = set(names) - seen
            seen |= new
            for page in _pages(sorted(new)):
                yield await self._read(page)

    async def _unlisted(self) -> AsyncIterator[Sequence[Entry]]:
        """The orders that no list names, found by their records."""
        seen: set[OrderId] = set()
        async for names in self._books.records():
            unlisted = set(await self._books.unlisted(names)) - seen
            seen |= unlisted
            await self._pacer.after(len(names) // LOOKED_UP)
            if unlisted:
                yield await self._read(sorted(unlisted))

    async def _read(self, order_ids: Sequence[OrderId]) -> Sequence[Entry]:
        entries = await self._books.entries(order_ids)
        await self._pacer.after(len(entries))
        return entries

    def _of_orders(self, entries: Iterable[Entry]) -> list[Finding]:
        return [found for entry in entries for rule in ORDER_RULES for found in rule(entry, self._bounds)]

    async def _waiting(self, partition: str) -> list[Finding]:
        messages = await self._books.outbox(partition)
        await self._pacer.after(len(messages))
        found = [*outbox(messages, self._bounds)]
        async for claims in self._books.claims(partition):
            found += claim(claims, self._bounds)
            await self._pacer.after(len(claims))
        return found

    async def _of_stock(self, sku: Sku) -> list[Finding]:
        found: list[Finding] = []
        async for record in self._books.stock(sku):
            found += [*stock([record]), *stock_sum([record]), *stray_hold([record], self._bounds)]
            await self._pacer.after(record.holds)
        return found

    async def _confirmed(self, suspects: Sequence[Finding]) -> Sequence[Finding]:
        """Those that a second look finds again."""
        if not suspects:
            return ()
        await self._sleep(self._confirm_after_s)
        again: list[Finding] = []
        for orders in _pages(_subjects(suspects, "order")):
            again += self._of_orders(await self._read([OrderId(each) for each in orders]))
        names = [*_subjects(suspects, "outbox"), *_subjects(suspects, "claim")]
        for partition in sorted({partition_of(CartId(name)) for name in names}):
            again += await self._waiting(partition)
        for sku in _subjects(suspects, "sku"):
            again += await self._of_stock(Sku(sku))
        first = {each.identity for each in suspects}
        # Each once: the stock of a SKU is read with every page of its holds.
        return list({each.identity: each for each in again if each.identity in first}.values())


def _subjects(findings: Iterable[Finding], kind: str) -> Sequence[str]:
    return sorted({each.subject for each in findings if each.kind == kind})


def _became(entry: Entry) -> str:
    assert entry.order is not None
    if entry.is_set_aside:
        return "set_aside"
    return entry.order.status.value if entry.order.status.has_ended else "in_flight"


def _pages(several: Iterable[T]) -> Iterator[Sequence[T]]:
    left = iter(several)
    while page := list(islice(left, PAGE)):
        yield page

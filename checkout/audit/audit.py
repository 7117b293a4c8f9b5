"""The run of an audit: a partition after the other, and a second look at suspects."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import msgspec

from cart.ids import partition_of
from cart.model import CartId, OrderId, Sku
from checkout.audit.finding import DEFAULT_BOUNDS, Bounds, Finding
from checkout.audit.pacer import Pacer
from checkout.audit.rules import ORDER_RULES, SKU_RULES
from checkout.audit.rules.waiting import claim, outbox
from checkout.ports.books import Books, Entry

CONFIRM_AFTER_S: Final = 5.0
T = TypeVar("T")
# Orders of one look.
PAGE: Final = 50
# Records that cost as much to look up in the lists as one does to read.
LOOKED_UP: Final = 10


class AuditReport(msgspec.Struct, frozen=True):
    """`counts` are the numbers of orders that are `in_flight`, `set_aside`, or in each of the statuses of an end.

    A round of changes has looked at the orders that changed since the time of the store that it was given; `began_ms` is when this one began.
    """

    looked_at: int = 0
    partitions: int = 0
    of_partitions: int = 0
    suspects: int = 0
    counts: Mapping[str, int] = {}
    findings: Sequence[Finding] = ()
    began_ms: int = 0


class _Round:
    """The state of a round."""

    def __init__(self, began_ms: int, of_partitions: int, suspects: Iterable[Finding]) -> None:
        self.began_ms = began_ms
        self.of_partitions = of_partitions
        self.suspects = list(suspects)
        self.partitions = 0
        self.looked_at = 0
        self.counts: Counter[str] = Counter()
        self.skus: set[Sku] = set()

    def count(self, entries: Sequence[Entry]) -> None:
        """Count the orders, and note their SKUs."""
        orders = [entry for entry in entries if entry.order is not None]
        self.looked_at += len(entries)
        self.counts.update(map(_became, orders))
        self.skus.update(sku for entry in orders if entry.order is not None for sku in entry.order.skus)

    def report(self, findings: Sequence[Finding] = ()) -> AuditReport:
        """The round as it is now."""
        return AuditReport(
            looked_at=self.looked_at,
            partitions=self.partitions,
            of_partitions=self.of_partitions,
            suspects=len(self.suspects),
            counts=dict(self.counts),
            findings=findings,
            began_ms=self.began_ms,
        )


class Audit:
    """Audits the books: `rate` records a second at most, of orders, holds and all that waits.

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
        """Look at all books once, and at suspects twice."""
        return await self._run(self._books.orders, (), progress, is_full=True)

    async def run_changes(self, since_ms: int, known: Sequence[Finding] = ()) -> AuditReport:
        """Look at the orders that changed at `since_ms` of the store or later, at claims and messages, and again at `known` findings."""
        idle_ms = await self._books.now_ms() - self._bounds.order_ms
        changed = partial(self._books.changed, since_ms=since_ms, idle_ms=idle_ms)
        return await self._run(changed, known, lambda _report: None, is_full=False)

    async def _run(
        self,
        orders: Callable[[str], AsyncIterator[Sequence[OrderId]]],
        known: Sequence[Finding],
        progress: Callable[[AuditReport], None],
        *,
        is_full: bool,
    ) -> AuditReport:
        partitions = self._books.partitions
        this = _Round(await self._books.now_ms(), len(partitions), known)
        for partition in partitions:
            this.suspects += await self._waiting(partition)
            async for entries in self._entries(orders(partition)):
                this.count(entries)
                this.suspects += self._of_orders(entries)
            this.partitions += 1
            progress(this.report())
        if is_full:
            async for entries in self._unlisted():
                this.count(entries)
                this.suspects += self._of_orders(entries)
        for sku in sorted(this.skus):
            this.suspects += await self._of_stock(sku)
        return this.report(await self._confirmed(this.suspects))

    async def _entries(self, pages: AsyncIterator[Sequence[OrderId]]) -> AsyncIterator[Sequence[Entry]]:
        """Each order of a partition once."""
        seen: set[OrderId] = set()
        async for names in pages:
            new = set(names) - seen
            seen |= new
            for page in _pages(sorted(new)):
                yield await self._read(page, has_all_holds=False)

    async def _unlisted(self) -> AsyncIterator[Sequence[Entry]]:
        """The orders that no list names, found by their records."""
        seen: set[OrderId] = set()
        async for names in self._books.records():
            unlisted = set(await self._books.unlisted(names)) - seen
            seen |= unlisted
            await self._pacer.after(len(names) // LOOKED_UP)
            if unlisted:
                yield await self._read(sorted(unlisted))

    async def _read(self, order_ids: Sequence[OrderId], *, has_all_holds: bool = True) -> Sequence[Entry]:
        entries = await self._books.entries(order_ids, has_all_holds=has_all_holds)
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
            found += [each for rule in SKU_RULES for each in rule(record, self._bounds)]
            await self._pacer.after(record.holds)
            for page in _pages(record.ended):
                found += self._of_orders(await self._read(page))
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

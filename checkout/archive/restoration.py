"""Rebuilding the orders of a store from the archive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.archive.archived import Records
from checkout.errors import IdempotencyKeyInProgress, SoldAhead
from checkout.order import Order
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.archive import Archive, ArchivedOrder
from checkout.ports.records import OrderRecords
from checkout.ports.stock import Stock
from primitives.outages import is_outage

# Records of a page of the scan, which are restored at once.
PAGE: Final = 100

_log = logging.getLogger(__name__)


class RestoreReport(msgspec.Struct):
    """Records by what became of them. `cursor` continues the run behind the last page that is done; None at its end.

    `old`: ended so long ago that it would leave the store again. `elsewhere`: the home is another Region. `failed`: it cannot
    be read, such as one that is sealed with a key that is lost; the log has the error.
    """

    restored: int = 0
    stored: int = 0
    old: int = 0
    elsewhere: int = 0
    failed: int = 0
    cursor: str | None = None

    @property
    def looked_at(self) -> int:
        """The number of records."""
        return self.restored + self.stored + self.old + self.elsewhere + self.failed


class Restoration:
    """Restores orders that the store has lost; it may run beside the gateway, and again.

    An order that the store has, at this revision or a later one, only gets its entries in the indexes again. `keep_ms` is how
    long ended orders are kept in the store. All calls raise the errors of the store and of the archive.
    """

    def __init__(
        self,
        archive: Archive,
        stored: OrderRecords,
        records: Records,
        stock: Stock,
        *,
        message: Callable[[Order], bytes],
        keep_ms: int,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._archive = archive
        self._stored = stored
        self._records = records
        self._stock = stock
        self._message = message
        self._keep_ms = keep_ms
        self._clock_ms = clock_ms

    async def run(
        self,
        *,
        accepted_from: int = 0,
        accepted_before: int | None = None,
        cursor: str | None = None,
        progress: Callable[[RestoreReport], None] = lambda _report: None,
    ) -> RestoreReport:
        """Restore the orders accepted in that time (Unix ms), but for those that ended too long ago.

        `progress` receives the report after each page, always the same object. Raises `ValueError` for a cursor that is none.
        """
        report = RestoreReport(cursor=cursor)
        while True:
            page = await self._archive.scan(
                accepted_from=accepted_from, accepted_before=accepted_before, limit=PAGE, cursor=report.cursor
            )
            await asyncio.gather(*(self._restore(record, report) for record in page.records))
            report.cursor = page.cursor
            progress(report)
            if page.cursor is None:
                return report

    async def one(self, order_ids: Sequence[OrderId]) -> RestoreReport:
        """Restore these orders, however old; those that the archive does not have are not counted."""
        report = RestoreReport()
        for order_id in order_ids:
            record = await self._archive.read(order_id)
            if record is not None:
                await self._restore(record, report, is_kept_always=True)
        return report

    async def _restore(self, record: ArchivedOrder, report: RestoreReport, *, is_kept_always: bool = False) -> None:
        if record.home != self._records.home:
            report.elsewhere += 1
        elif not is_kept_always and record.has_ended and record.updated_at < self._clock_ms() - self._keep_ms:
            report.old += 1
        else:
            try:
                is_restored = await self._restored(record)
            except Exception as error:
                if is_outage(error):
                    raise
                _log.exception("order %s cannot be restored", order_number(record.id))
                report.failed += 1
                return
            report.restored += is_restored
            report.stored += not is_restored

    async def _restored(self, record: ArchivedOrder) -> bool:
        order = await self._records.order(record)
        if record.status is OrderStatus.ACCEPTED and not await self._stored.read([record.id]):
            await hold_again(self._stock, order)
        return await self._stored.restore(record, self._message(order.as_accepted()))


async def hold_again(stock: Stock, order: Order) -> None:
    """Hold the stock that the order had when it was accepted; a shortage cancels it once a worker takes it up.

    It was accepted, so it is asked for no limit of its shopper.
    """
    try:
        outcomes = await stock.hold(order.id, order.held, fence=0)
        if any(not isinstance(outcome, SoldAhead) for outcome in outcomes):
            await stock.release(order.id, order.skus, fence=0)
    except IdempotencyKeyInProgress:
        pass  # held by its checkout still, or sold to it

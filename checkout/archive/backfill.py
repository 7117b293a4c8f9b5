"""Archives the orders of the store that the archive lacks: those from before there was one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from cart.model import OrderId
from checkout.archive.missing import MakeDurable, archive_if_missing
from checkout.errors import ChangeNotDurable
from checkout.order_number import order_number
from checkout.ports.archive import Archive
from checkout.ports.documents import OrderDocuments
from checkout.ports.records import OrderRecords
from primitives.outages import is_outage

# Orders a second, so that a run takes a part of one core beside a gateway that serves.
RATE_DEFAULT: Final = 500.0
# Orders that are compared with the archive at once.
MAX_STEP: Final = 50
# So many steps in a second, so that the rate is even.
_STEPS_PER_S: Final = 10
# An order that changes while it is archived is read again.
_ATTEMPTS: Final = 3

_log = logging.getLogger(__name__)


class BackfillReport(msgspec.Struct):
    """Orders by what became of them. `cursor` continues the run behind the last page that is done; None at its end.

    `failed`: the order cannot be read, such as one that is sealed with a key that is lost; the log has the error.
    """

    archived: int = 0
    present: int = 0
    failed: int = 0
    cursor: str | None = None

    @property
    def looked_at(self) -> int:
        """The number of orders."""
        return self.archived + self.present + self.failed


class Backfill:
    """Archives each order of the store that the archive lacks; it may run beside the gateway, be stopped, and run again.

    `make_durable` is that of the orders.
    """

    def __init__(
        self,
        documents: OrderDocuments,
        records: OrderRecords,
        archive: Archive,
        *,
        make_durable: MakeDurable,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._documents = documents
        self._records = records
        self._archive = archive
        self._make_durable = make_durable
        self._clock = clock
        self._sleep = sleep

    async def run(
        self,
        *,
        rate: float = RATE_DEFAULT,
        cursor: str | None = None,
        progress: Callable[[BackfillReport], None] = lambda _report: None,
    ) -> BackfillReport:
        """Look at every order, or those behind `cursor`, `rate` a second at most.

        `progress` receives the report after each step, always the same object. An order may be counted twice. Raises the
        errors of the store and of the archive, and `ValueError` for a cursor that is none.
        """
        report = BackfillReport(cursor=cursor)
        per_step = max(1, min(MAX_STEP, int(rate / _STEPS_PER_S)))
        next_at = self._clock()
        while True:
            page = await self._documents.page(report.cursor)
            ids = [stored.order_id for stored in page.documents]
            for begin in range(0, len(ids), per_step):
                step = ids[begin : begin + per_step]
                await self._archive_all(step, report)
                progress(report)
                # After a slow second it does not hurry.
                next_at = max(next_at, self._clock() - 1.0) + len(step) / rate
                await self._sleep(max(0.0, next_at - self._clock()))
            report.cursor = page.cursor
            progress(report)
            if page.cursor is None:
                return report

    async def _archive_all(self, order_ids: Sequence[OrderId], report: BackfillReport) -> None:
        # At once: an archive then flushes its file once for many of them.
        for is_archived in await asyncio.gather(*map(self._try, order_ids)):
            if is_archived is None:
                report.failed += 1
            else:
                report.archived += is_archived
                report.present += not is_archived

    async def _try(self, order_id: OrderId) -> bool | None:
        """Whether the order was archived now; None if it cannot be read, which does not stop the others."""
        try:
            return await self._archive_one(order_id)
        except Exception as error:
            if is_outage(error):
                raise
            _log.exception("order %s cannot be archived", order_number(order_id))
            return None

    async def _archive_one(self, order_id: OrderId) -> bool:
        for attempt in range(1, _ATTEMPTS + 1):
            found = await self._records.read([order_id])
            if not found:
                break  # retention has archived and deleted it meanwhile
            try:
                return await archive_if_missing(self._archive, found[0], make_durable=self._make_durable)
            except ChangeNotDurable:
                if attempt == _ATTEMPTS:
                    raise
        return False

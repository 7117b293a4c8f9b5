"""Retention: orders that ended long ago leave the store, once the archive has them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from cart.model import OrderId
from checkout.archive.missing import MakeDurable, archive_if_missing
from checkout.order_number import order_number
from checkout.ports.archive import Archive
from checkout.ports.records import OrderRecords
from primitives.outages import is_outage
from primitives.rounds import try_round

_log = logging.getLogger(__name__)

# Of each partition, in one look.
LIMIT: Final = 10
# Orders that are compared with the archive at a time.
BATCH: Final = 50
INTERVAL_S: Final = 60.0


class Retention:
    """Deletes orders from the store that ended `keep_s` ago, about every `interval_s` seconds; one process at a time does.

    An order is deleted only if the archive has its last revision; an order that the archive lacks is archived first. So
    orders that ended before there was an archive reach it too. `make_durable` is that of the orders; `deleted` counts those
    deleted.
    """

    def __init__(
        self,
        records: OrderRecords,
        archive: Archive,
        *,
        make_durable: MakeDurable,
        keep_s: float,
        interval_s: float = INTERVAL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.deleted = 0
        self._records = records
        self._archive = archive
        self._make_durable = make_durable
        self._keep_ms = round(keep_s * 1000)
        self._interval_s = interval_s
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._sleep(self._interval_s * (0.5 + self._chance()))
            await try_round("deleting archived orders from the store", self.sweep)

    async def sweep(self) -> int:
        """Delete the orders that ended so long ago; returns their number."""
        before = self.deleted
        seen = set[OrderId]()
        while True:
            found = await self._records.ended(for_ms=self._keep_ms, limit=LIMIT)
            old = [each for each in found if each not in seen]
            if not old:
                break
            seen.update(old)
            for begin in range(0, len(old), BATCH):
                await asyncio.gather(*map(self._delete, old[begin : begin + BATCH]))
        await self._archive.expire()
        return self.deleted - before

    async def _delete(self, order_id: OrderId) -> None:
        try:
            for stored in await self._records.read([order_id]):
                await archive_if_missing(self._archive, stored, make_durable=self._make_durable)
                if await self._records.delete(stored.order):
                    self.deleted += 1
                return
        except Exception as error:
            if is_outage(error):
                raise
            # The record of one order is broken: it stays, and does not stop the others.
            _log.exception("order %s cannot be deleted from the store", order_number(order_id))
        await self._records.postpone(order_id)

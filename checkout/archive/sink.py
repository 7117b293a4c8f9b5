"""Writes orders to the archive as their events come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.archive import Archive, ArchivedOrder
from checkout.ports.records import OrderRecords


class Event(Protocol):
    """The part of an event that the archive needs: the order as it was when the event was read."""

    @property
    def order(self) -> Order:
        """The order."""
        ...


class ArchiveSink:
    """An event sink that archives the current record of each order, which has all its events so far.

    `make_durable` is that of the orders. `archived` counts records. An order that the store has no more is passed over.
    """

    def __init__(
        self, records: OrderRecords, archive: Archive, *, make_durable: Callable[[Order], Awaitable[None]]
    ) -> None:
        self.archived = 0
        self._records = records
        self._archive = archive
        self._make_durable = make_durable

    async def take(self, events: Sequence[Event]) -> Collection[OrderId]:
        """Archive the orders of these events; when it returns, all are durable there. Raises `ArchiveUnavailable`."""
        durable = {event.order.id: event.order for event in events}
        records = list[ArchivedOrder]()
        for stored in await self._records.read(list(durable), known=durable):
            if stored.record.revision > durable[stored.record.id].revision:
                # It has changed since. The archive must not have a change that the store may lose.
                await self._make_durable(stored.order)
            records.append(stored.record)
        await self._archive.put(records)
        self.archived += len(records)
        return ()

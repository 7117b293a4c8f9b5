"""The event outboxes: events of orders that a sink does not have yet, one outbox for each sink."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId
from checkout.order import HistoryEntry, Order


class EventEntry(msgspec.Struct, frozen=True):
    """An entry of an event outbox: event `number` of an order, which is the entry of its history at `number - 1`."""

    partition: str
    entry_id: str
    order_id: OrderId
    number: int


class EventBacklog(msgspec.Struct, frozen=True):
    """The entries that wait in a partition, and the age of the oldest in seconds, by the clock of the store."""

    partition: str
    waiting: int
    oldest_age_s: float


class NewEvent(msgspec.Struct, frozen=True):
    """Event `number` of an order, and the order as it is now, which may be further on already."""

    order: Order
    number: int

    @property
    def entry(self) -> HistoryEntry:
        """The entry of the history that this is the event of."""
        return self.order.history[self.number - 1]


class EventOutbox(Protocol):
    """The outbox of one sink, in all partitions. The changes of orders write it, atomically with the change.

    A claim of a partition is exclusive and expires, so that the events of an order are handed on one after the other. All
    methods raise the errors of the store.
    """

    async def claim(self, partition: str) -> Sequence[EventEntry] | None:
        """Claim the partition; returns its oldest entries, or none and no claim where it is empty.

        None while another holder has the claim: that one sees every entry that was written before this call.
        """
        ...

    async def proceed(
        self, partition: str, taken: Sequence[EventEntry], *, after: EventEntry | None = None
    ) -> Sequence[EventEntry] | None:
        """Delete entries that the sink has taken; returns the oldest of those behind `after`, as `claim` does.

        The claim ends where there are none. Returns None where the claim was lost to another holder.
        """
        ...

    async def release(self, partition: str) -> None:
        """End the claim; the entries stay."""
        ...

    async def backlog(self) -> Sequence[EventBacklog]:
        """The partitions with entries. Only one process at a time is told of any."""
        ...


class EventSink(Protocol):
    """Takes the events of orders: an archive, webhooks, a topic.

    An event may come again, so a sink is idempotent by order id and number. The events of an order come in their order.
    """

    async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
        """Take the events; returns the orders of which it did not take all. The events of those come again, later.

        An error says that none may be taken: all come again.
        """
        ...

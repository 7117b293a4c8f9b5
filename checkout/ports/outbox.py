"""The outbox: messages of accepted orders that the queue does not have yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId


class OutboxEntry(msgspec.Struct, frozen=True):
    """A message in the outbox of a partition."""

    partition: str
    entry_id: str
    order_id: OrderId
    message: bytes


class OutboxBacklog(msgspec.Struct, frozen=True):
    """The number of entries of all partitions, and the age of the oldest in seconds, by the clock of the store."""

    waiting: int = 0
    oldest_age_s: float = 0.0


class Outbox(Protocol):
    """The outbox of all partitions."""

    async def unsent(self, *, per_partition: int) -> Sequence[OutboxEntry]:
        """The oldest entries of each partition."""
        ...

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete entries whose messages the queue has."""
        ...


class WaitingMessages(Protocol):
    """Which messages wait in the outbox."""

    async def has_message_of(self, order_id: OrderId) -> bool:
        """Whether a message of the order waits: the queue has not acknowledged it, or it is not noted yet."""
        ...


class OutboxGauge(Protocol):
    """How much waits in the outbox, for metrics."""

    async def backlog(self) -> OutboxBacklog:
        """The entries of all partitions."""
        ...

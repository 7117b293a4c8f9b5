"""The outbox: messages of accepted orders that the queue does not have yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId


class OutboxEntry(msgspec.Struct, frozen=True):
    """A message in the outbox of a partition. `entry_id` begins with the time it was written, in milliseconds."""

    partition: str
    entry_id: str
    order_id: OrderId
    message: bytes


class Outbox(Protocol):
    """The outbox of all partitions."""

    async def unsent(self, *, before_ms: int, per_partition: int) -> Sequence[OutboxEntry]:
        """The oldest entries of each partition that were written before `before_ms` (Unix milliseconds)."""
        ...

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete entries whose messages the queue has."""
        ...

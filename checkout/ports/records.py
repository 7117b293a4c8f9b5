"""The records of the store's orders: copied to the archive, deleted once it has them, restored from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.archive import ArchivedOrder

NONE_KNOWN: Final[Mapping[OrderId, Order]] = MappingProxyType({})


class StoredRecord(msgspec.Struct, frozen=True):
    """The record of a stored order, and the order."""

    record: ArchivedOrder
    order: Order


class OrderRecords(Protocol):
    """The records of the orders that the store has. All calls raise the errors of the store, and may be repeated."""

    async def read(
        self, order_ids: Sequence[OrderId], *, known: Mapping[OrderId, Order] = NONE_KNOWN
    ) -> Sequence[StoredRecord]:
        """The records of those of these orders that the store has, in any sequence.

        Those that are `known` already are not decoded again if they have not changed.
        """
        ...

    async def ended(self, *, for_ms: int, limit: int) -> Sequence[OrderId]:
        """Up to `limit` orders of each partition that have ended so long ago, by the clock of the store.

        Only one process at a time is told of any.
        """
        ...

    async def delete(self, order: Order) -> bool:
        """Delete an ended order and its entries in the indexes, if it still is at this revision.

        False, and it is postponed, if it has changed, is in flight, has facts to apply or needs a person.
        """
        ...

    async def postpone(self, order_id: OrderId) -> None:
        """Count the end of the order from now on, as if it had ended now; forget one that the store does not have."""
        ...

    async def restore(self, record: ArchivedOrder, message: bytes) -> bool:
        """Make the stored order that of the record; enter it in the indexes.

        An order that has not ended, or has facts to apply, is in flight then, with `message` in the outbox. False, and no
        change, if the store has the order at this revision or a later one.
        """
        ...

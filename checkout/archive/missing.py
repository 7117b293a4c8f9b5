"""The one way in which an order that the archive lacks reaches it later than by its event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from checkout.order import Order
from checkout.ports.archive import Archive
from checkout.ports.records import StoredRecord

MakeDurable = Callable[[Order], Awaitable[None]]


async def archive_if_missing(archive: Archive, stored: StoredRecord, *, make_durable: MakeDurable) -> bool:
    """Archive the record if the archive has none of its revision or a later one; False if it has.

    Raises `ArchiveUnavailable`, and `ChangeNotDurable` if the order is not durable, or has changed meanwhile.
    """
    archived = await archive.read(stored.record.id)
    if archived is not None and archived.revision >= stored.record.revision:
        return False
    # The archive must not have a change that the store may lose.
    await make_durable(stored.order)
    await archive.put([stored.record])
    return True

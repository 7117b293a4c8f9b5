"""The archive: the lasting record of every order, beside the store that works on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from cart.model import OrderId
from checkout.order_status import OrderStatus

# The longest page of a search or a scan.
PAGE_MAX: Final = 1000


class ArchiveUnavailable(Exception):
    """The archive could not be reached, or could not do it in time or for want of room; the same call may be repeated."""

    # So that it counts as an outage (`primitives.outages`). A call that has taken effect all the same may be repeated.
    may_have_run = False


class ArchiveMisconfigured(Exception):
    """The archive cannot be used as it is configured: a table is missing, or a permission; the text advises."""


class ArchivedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an order at one revision.

    `content` has the fields of the order in the store (`checkout.archive.archived`), in its bytes: encrypted, where those are. `owner_hash` and `email_hash` find the orders of a shopper and name nobody. `home` is the Region whose
    store works on the order, '' where there is only one. Times are Unix milliseconds.
    """

    id: OrderId
    revision: int
    status: OrderStatus
    number: str
    created_at: int
    updated_at: int
    content: bytes
    owner_hash: str | None = None
    email_hash: str | None = None
    home: str = ""
    has_ended: bool = False


class Position(msgspec.Struct, frozen=True):
    """The place of an order among those of its shopper, which are sorted by both members, the latest first."""

    created_at: int
    order_id: OrderId


class ScanPage(msgspec.Struct, frozen=True):
    """Some records of a scan. `cursor` continues it, in another process too; None at its end."""

    records: Sequence[ArchivedOrder]
    cursor: str | None


class Archive(Protocol):
    """The records of all orders, each in its latest revision.

    Any number of processes may use one archive at once. Reads await futures only. All calls raise `ArchiveUnavailable`, and may be repeated then.
    """

    async def put(self, records: Sequence[ArchivedOrder]) -> None:
        """Store these records; they are durable when it returns.

        A record replaces one of an earlier revision of the same home only; otherwise it is dropped without an error.
        """
        ...

    async def read(self, order_id: OrderId) -> ArchivedOrder | None:
        """The latest record of the order, None if there is none."""
        ...

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """The orders that have this number: nearly always one or none."""
        ...

    async def of_owner(self, owner_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """Up to `limit` orders of the owner behind `after`, the latest first."""
        ...

    async def of_email(self, email_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """Up to `limit` orders with this e-mail address behind `after`, the latest first."""
        ...

    async def scan(
        self, *, accepted_from: int = 0, accepted_before: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> ScanPage:
        """A page of the orders accepted in that time, in any sequence. A page may be short, or empty, with a cursor.

        Orders that are archived meanwhile may be missing. Raises `ValueError` for a cursor of something else.
        """
        ...

    async def erase(self, record: ArchivedOrder) -> bool:
        """Replace the record of the same revision and home by this one, from whose content the personal fields were erased.

        `owner_hash` and `email_hash` become those of `record` too. False, without a change, if the stored revision or home
        is another: read it again. Nothing of the replaced record stays in the files of the archive.
        """
        ...

    async def expire(self) -> int:
        """Delete records that are older than the archive keeps them, if it must be told; returns their number."""
        ...

    async def check(self) -> None:
        """Make sure that the archive can be used. Raises `ArchiveMisconfigured` if that does not pass by itself."""
        ...

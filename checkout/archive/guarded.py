"""The archive behind a circuit breaker: while it is away, those who read from it hear so at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from cart.model import OrderId
from checkout.errors import DependencyTripped
from checkout.ports.archive import Archive, ArchivedOrder, ArchiveUnavailable, Position
from checkout.ports.services import Guard

_T = TypeVar("_T")


def is_archive_failure(error: Exception) -> bool:
    """Whether the error counts as a failure of the archive."""
    return isinstance(error, ArchiveUnavailable)


class GuardedArchive:
    """An `Archive` whose reads are guarded. Those who write to it wait and repeat it themselves, so writes are not."""

    def __init__(self, archive: Archive, guard: Guard) -> None:
        self._archive = archive
        self._guard = guard
        self.put = archive.put
        self.scan = archive.scan
        self.erase = archive.erase
        self.expire = archive.expire
        self.check = archive.check

    async def read(self, order_id: OrderId) -> ArchivedOrder | None:
        """See `Archive.read`."""
        return await self._guarded(lambda: self._archive.read(order_id))

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `Archive.by_number`."""
        return await self._guarded(lambda: self._archive.by_number(number))

    async def of_owner(self, owner_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_owner`."""
        return await self._guarded(lambda: self._archive.of_owner(owner_hash, limit=limit, after=after))

    async def of_email(self, email_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_email`."""
        return await self._guarded(lambda: self._archive.of_email(email_hash, limit=limit, after=after))

    async def _guarded(self, work: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await self._guard.call(work)
        except DependencyTripped as error:
            raise ArchiveUnavailable(str(error)) from error

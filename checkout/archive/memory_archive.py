"""The archive in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.ports.archive import ArchivedOrder, ArchiveUnavailable, Position, ScanPage

_by_place = attrgetter("created_at", "id")


class MemoryArchive:
    """`Archive` in a dict. `is_away` makes every call fail; `keep_ms` is how long a record is kept after its last change."""

    def __init__(self, *, keep_ms: int | None = None, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.records: dict[OrderId, ArchivedOrder] = {}
        self.is_away = False
        self._keep_ms = keep_ms
        self._clock_ms = clock_ms

    async def put(self, records: Sequence[ArchivedOrder]) -> None:
        """See `Archive.put`."""
        await self.check()
        for record in records:
            stored = self.records.get(record.id)
            if stored is None or (stored.revision < record.revision and stored.home == record.home):
                self.records[record.id] = record

    async def read(self, order_id: OrderId) -> ArchivedOrder | None:
        """See `Archive.read`."""
        await self.check()
        return self.records.get(order_id)

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `Archive.by_number`."""
        await self.check()
        return sorted(record.id for record in self.records.values() if record.number == number)

    async def of_owner(self, owner_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_owner`."""
        await self.check()
        return _page((each for each in self.records.values() if each.owner_hash == owner_hash), limit, after)

    async def of_email(self, email_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_email`."""
        await self.check()
        return _page((each for each in self.records.values() if each.email_hash == email_hash), limit, after)

    async def scan(
        self, *, accepted_from: int = 0, accepted_before: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> ScanPage:
        """See `Archive.scan`."""
        await self.check()
        first = int(cursor or 0)
        found = [
            record
            for record in self.records.values()
            if accepted_from <= record.created_at and (accepted_before is None or record.created_at < accepted_before)
        ]
        page = found[first : first + limit]
        return ScanPage(page, str(first + limit) if first + limit < len(found) else None)

    async def erase(self, record: ArchivedOrder) -> bool:
        """See `Archive.erase`."""
        await self.check()
        stored = self.records.get(record.id)
        if stored is None or (stored.revision, stored.home) != (record.revision, record.home):
            return False
        self.records[record.id] = record
        return True

    async def expire(self) -> int:
        """See `Archive.expire`."""
        await self.check()
        if self._keep_ms is None:
            return 0
        before = self._clock_ms() - self._keep_ms
        old = [each.id for each in self.records.values() if each.has_ended and each.updated_at < before]
        for order_id in old:
            del self.records[order_id]
        return len(old)

    async def check(self) -> None:
        """See `Archive.check`."""
        if self.is_away:
            raise ArchiveUnavailable("the archive is away")


def _page(records: Iterator[ArchivedOrder], limit: int, after: Position | None) -> Sequence[Position]:
    found = sorted(records, key=_by_place, reverse=True)
    places = [Position(each.created_at, each.id) for each in found]
    return [
        place
        for place in places
        if after is None or (place.created_at, place.order_id) < (after.created_at, after.order_id)
    ][:limit]

"""The progress of orders in memory, for tests; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.memory.orders import MemoryOrders
from checkout.order_status import OrderStatus
from checkout.ports.outbox import OutboxEntry
from checkout.ports.progress import MAX_DELAY_MS, SUSPECT_DEATHS, Attention, Busy, Early, SetAside, Taken, Tally


class _Record(msgspec.Struct):
    holder: str | None = None
    until_ms: int = 0
    failures: int = 0
    deaths: int = 0
    runs: int = 0
    since_ms: int = 0
    unanswered_at: OrderStatus | None = None
    aside_at: OrderStatus | None = None
    due_ms: int = 0
    due_revision: int = 0


class MemoryProgress:
    """`Progress` in a dict, beside the orders. No call awaits, so each is one atomic change."""

    def __init__(self, orders: MemoryOrders, *, lease_ms: int, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._orders = orders
        self._lease_ms = lease_ms
        self._clock_ms = clock_ms
        self._records: dict[OrderId, _Record] = {}
        self._attention: dict[OrderId, Attention] = {}

    async def take(self, order_id: OrderId, holder: str) -> Taken | Busy | Early | SetAside | None:
        """See `Progress.take`."""
        order = await self._orders.read(order_id)
        if order is None:
            return None
        record = self._records.setdefault(order_id, _Record())
        if record.aside_at is not None:
            if record.aside_at is order.status and not order.facts:
                return SetAside()
            record = self._records[order_id] = _Record()
            del self._attention[order_id]
        now = self._clock_ms()
        if record.due_revision == order.revision and not order.facts and 0 < record.due_ms - now <= MAX_DELAY_MS:
            return Early(record.due_ms - now)
        record.due_revision = 0
        if not _is_completed(order.status) or order.facts:
            if record.holder not in {None, holder}:
                if record.until_ms > now:
                    return Busy(record.until_ms - now)
                record.failures += record.deaths >= SUSPECT_DEATHS
                record.deaths += 1
            record.holder, record.until_ms = holder, now + self._lease_ms
        if record.unanswered_at is not order.status:
            return Taken(order, record.failures, record.deaths)
        return Taken(order, record.failures, record.deaths, record.runs, now - record.since_ms)

    async def renew(self, order_id: OrderId, holder: str) -> bool:
        """See `Progress.renew`."""
        record = self._records.get(order_id)
        if record is None or record.holder is None:
            return _is_completed(self._status(order_id))
        if record.holder != holder:
            return False
        record.until_ms = self._clock_ms() + self._lease_ms
        return True

    async def put_back(
        self, order_id: OrderId, holder: str, *, failed: bool = False, unanswered: bool = False
    ) -> Tally | None:
        """See `Progress.put_back`."""
        record = self._own_record(order_id, holder)
        if record is None:
            return None
        now, status = self._clock_ms(), self._status(order_id)
        record.holder = None
        record.failures += failed
        if unanswered:
            if record.unanswered_at is not status:
                record.unanswered_at, record.since_ms, record.runs = status, now, 0
            record.runs += 1
        if record.unanswered_at is not status:
            return Tally(record.failures, status=status)
        return Tally(record.failures, record.runs, now - record.since_ms, status)

    async def delay(self, order_id: OrderId, delay_ms: int) -> None:
        """See `Progress.delay`."""
        record, receipt = self._records.get(order_id), self._orders.orders.get(order_id)
        if record is not None and receipt is not None:
            record.due_ms = self._clock_ms() + min(delay_ms, MAX_DELAY_MS)
            record.due_revision = receipt.order.revision

    async def set_aside(self, order_id: OrderId, holder: str, *, reason: str) -> bool:
        """See `Progress.set_aside`."""
        record = self._own_record(order_id, holder)
        if record is None:
            return False
        record.holder = None
        record.aside_at = self._status(order_id)
        self._attention[order_id] = Attention(order_id, self._clock_ms(), reason)
        return True

    async def resume(self, order_id: OrderId, *, message: bytes) -> OutboxEntry | None:
        """See `Progress.resume`."""
        if self._attention.pop(order_id, None) is None:
            return None
        self._records[order_id] = _Record()
        self._orders.in_flight[order_id] = self._clock_ms()
        return self._orders.post(order_id, message)

    async def needing_attention(self) -> Sequence[Attention]:
        """See `Progress.needing_attention`."""
        return sorted(self._attention.values(), key=lambda entry: entry.at)

    async def count_needing_attention(self) -> int:
        """See `Progress.count_needing_attention`."""
        return len(self._attention)

    def is_in_hands(self, order_id: OrderId) -> bool:
        """Whether a worker has its lease."""
        record = self._records.get(order_id, _Record())
        return record.holder is not None and record.until_ms > self._clock_ms()

    def is_aside(self, order_id: OrderId) -> bool:
        """Whether it needs a person, in its present status, and nothing was told of it since."""
        receipt = self._orders.orders.get(order_id)
        if receipt is None or receipt.order.facts or order_id not in self._records:
            return False
        return self._records[order_id].aside_at is receipt.order.status

    def aside_status(self, order_id: OrderId) -> OrderStatus | None:
        """The status in which it was set aside, None if it was not."""
        return self._records.get(order_id, _Record()).aside_at

    def lease_until_ms(self, order_id: OrderId) -> int:
        """The end of a worker's lease, 0 without one."""
        record = self._records.get(order_id, _Record())
        return 0 if record.holder is None else record.until_ms

    def _own_record(self, order_id: OrderId, holder: str) -> _Record | None:
        """The record, unless another holder has the lease."""
        if self._status(order_id) is None:
            return None
        record = self._records.setdefault(order_id, _Record())
        return record if record.holder in {None, holder} else None

    def _status(self, order_id: OrderId) -> OrderStatus | None:
        receipt = self._orders.orders.get(order_id)
        return None if receipt is None else receipt.order.status


def _is_completed(status: OrderStatus | None) -> bool:
    """Whether an order of this status needs no lease, unless facts are to be applied."""
    return status is not None and status.has_ended and status is not OrderStatus.CANCELLED

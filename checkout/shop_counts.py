"""What waits in the whole shop: orders by status, the outbox, the queue, open claims. For metrics and the console."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from checkout.errors import ServiceUnavailable
from checkout.order_status import OrderStatus
from checkout.ports.order_listing import OrderListing
from checkout.ports.orders import ClaimGauge
from checkout.ports.outbox import OutboxBacklog, OutboxGauge
from checkout.ports.queue import QueueGauge
from primitives.rounds import try_round

COUNT_S: Final = 10.0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `queue_depth` and `queue_age_s` are None where the queue does not tell them, or cannot be reached."""

    by_status: Mapping[OrderStatus, int]
    outbox: OutboxBacklog
    queue_depth: int | None
    queue_age_s: float | None
    open_claims: int


class ShopCounts:
    """Counts every `interval_s`, in one process at a time: `may_count` says whether in this one.

    `latest` is None in the others. While the store cannot be read, the counts before stay.
    """

    def __init__(
        self,
        listing: OrderListing,
        outbox: OutboxGauge,
        queue: QueueGauge,
        claims: ClaimGauge,
        *,
        may_count: Callable[[], Awaitable[bool]],
        interval_s: float = COUNT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.latest: Counts | None = None
        self._listing = listing
        self._outbox = outbox
        self._queue = queue
        self._claims = claims
        self._may_count = may_count
        self._interval_s = interval_s
        self._sleep = sleep

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await try_round("counting the orders of the shop", self.count)
            await self._sleep(self._interval_s)

    async def count(self) -> None:
        """Count once."""
        if not await self._may_count():
            self.latest = None
            return
        depth, age_s = await self._queue_gauge()
        self.latest = Counts(
            by_status=await self._listing.counts(),
            outbox=await self._outbox.backlog(),
            queue_depth=depth,
            queue_age_s=age_s,
            open_claims=await self._claims.count_claims(),
        )

    async def _queue_gauge(self) -> tuple[int | None, float | None]:
        try:
            depth = await self._queue.count_messages()
            # An empty queue has no oldest message.
            return depth, 0.0 if depth == 0 else await self._queue.oldest_age_s()
        except ServiceUnavailable:  # its breaker and its outbox show the outage
            return None, None

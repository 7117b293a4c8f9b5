"""Finds orders that are in flight without a message, and puts them back in the queue."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from checkout.order import Order
from checkout.ports.in_flight import InFlight
from checkout.ports.orders import Orders
from checkout.ports.queue import Backlog
from primitives.rounds import try_round

# Bounds the messages of a sweep.
LIMIT: Final = 500

_log = logging.getLogger(__name__)


class StalledOrders:
    """Sweeps the orders in flight about every `interval_s` seconds; any number of processes may.

    Messages get lost where a store loses writes that it has acknowledged: in a crash without `appendfsync always`, or in
    a failover. An order shows a sign of life when it is accepted, sent to the queue and moved on. So an order whose last
    sign of life is older than the oldest message in the queue, by `margin_s`, has no message there. It is sent again; a
    message too many is harmless.

    `margin_s` covers the time between the two looks, clocks of servers that differ, and a queue that does not know the age
    of its oldest message. `sent_again` counts the orders.
    """

    def __init__(
        self,
        in_flight: InFlight,
        orders: Orders,
        queue: Backlog,
        message: Callable[[Order], bytes],
        *,
        margin_s: float,
        interval_s: float = 20.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sent_again = 0
        self._in_flight = in_flight
        self._orders = orders
        self._queue = queue
        self._message = message
        self._margin_s = margin_s
        self._interval_s = interval_s
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._sleep(self._interval_s * (0.5 + self._chance()))
            await try_round("looking for orders without a message", self.sweep)

    async def sweep(self) -> int:
        """Send the stalled orders again; returns their number."""
        # The age first: an order that is sent after this look shows a sign of life before the next one.
        idle_s = (await self._queue.oldest_age_s() or 0.0) + self._margin_s
        count = 0
        for order_id in await self._in_flight.stalled(idle_s=idle_s, limit=LIMIT):
            order = await self._orders.read(order_id)
            if order is None:
                await self._in_flight.remove(order_id)
            elif await self._in_flight.send_again(order, self._message(order.as_accepted()), idle_s=idle_s) is not None:
                count += 1
        self.sent_again += count
        if count:
            _log.warning("%d orders were in flight without a message; they are back in the queue", count)
        return count

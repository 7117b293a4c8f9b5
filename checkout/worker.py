"""The order worker: takes accepted orders from the queue and brings them to their end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from cart.model import OrderId
from checkout.errors import DependencyTripped
from checkout.message import order_id_of
from checkout.order import Order
from checkout.ports.queue import Delivery, OrderQueue

_log = logging.getLogger(__name__)

BATCH: Final = 10  # what a queue takes or gives at once (`OrderQueue`)
# How long a stopping worker may wait for a slot before it notices.
NOTICE_S: Final = 1.0
# Doubled for every failure in a row, up to 0.8 s.
FIRST_PAUSE_S: Final = 0.05
FIRST_RETRY_S: Final = 2.0
MAX_RETRY_S: Final = 120.0
# How soon at least an order is tried again that met a service cut off.
MIN_DEFER_S: Final = 1.0


class OrderWorkflow(Protocol):
    """What the worker needs of `checkout.workflow.Workflow`."""

    async def run(self, order_id: OrderId) -> Order:
        """Bring the order to its end; raise if that is not possible now."""
        ...


class OrderWorker:
    """Runs the workflow for what the queue delivers, `concurrency` orders at once.

    A delivery is done when its order is at its end. One that cannot be brought there now is released and comes again, each
    time later (after 2, 8, 32 and 120 s, less a random half of each), until the queue declares it dead. While an order is
    worked on, its delivery is kept from coming again, for `visibility_s` at a time.

    An order that met something which every order needs and which is away (`is_outage` of what it raised) is no failure of
    its own: it is deferred, comes again when that may be back, and is never declared dead for it.

    After `stop` nothing more is received; orders in hand have `drain_s` to finish. What is left then comes again later.

    `processed`, `failed`, `dead_lettered` and `deferred` count deliveries: done, released, those of them for the last time,
    and deferred.
    """

    def __init__(
        self,
        queue: OrderQueue,
        workflow: OrderWorkflow,
        *,
        concurrency: int = 64,
        wait_s: float = 2.0,
        visibility_s: float = 30.0,
        drain_s: float = 20.0,
        is_outage: Callable[[Exception], bool] = lambda error: isinstance(error, DependencyTripped),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.processed = 0
        self.failed = 0
        self.dead_lettered = 0
        self.deferred = 0
        self._queue = queue
        self._workflow = workflow
        self._concurrency = concurrency
        self._wait_s = wait_s
        self._visibility_s = visibility_s
        self._drain_s = drain_s
        self._is_outage = is_outage
        self._sleep = sleep
        self._chance = chance
        self._stopping = False
        self._in_hand: dict[asyncio.Task[None], Delivery] = {}
        self._finished: list[Delivery] = []
        self._acknowledging = asyncio.Lock()
        self._failures_in_a_row = 0

    @property
    def in_hand(self) -> int:
        """How many deliveries are being worked on."""
        return len(self._in_hand)

    def stop(self) -> None:
        """Ask `run` to finish what is in hand and return: within `wait_s` or 1 s, whichever is longer, and `drain_s`."""
        self._stopping = True

    async def run(self) -> None:
        """Work until `stop`. Nothing that an order or a queue does ends it."""
        async with asyncio.TaskGroup() as group:
            extending = group.create_task(self._keep_extending())
            while not self._stopping:
                for delivery in await self._receive():
                    task = group.create_task(self._work(delivery))
                    self._in_hand[task] = delivery
                    task.add_done_callback(self._in_hand.pop)
            await self._drain()
            extending.cancel()

    async def _receive(self) -> Sequence[Delivery]:
        """The next deliveries; none when there are none, no slot is free, or the queue is away."""
        if self._failures_in_a_row:
            # When everything fails (the store is away), taking in more would only use up the orders' deliveries.
            await self._sleep(FIRST_PAUSE_S * 2 ** min(self._failures_in_a_row, 4) * self._jitter())
        free = self._concurrency - len(self._in_hand)
        if not free:
            await asyncio.wait(self._in_hand, timeout=NOTICE_S, return_when=asyncio.FIRST_COMPLETED)
            return []
        try:
            deliveries = await self._queue.receive(min(free, BATCH), self._wait_s)
        except Exception as error:  # noqa: BLE001  a queue that is away comes back
            _log.warning("receiving orders failed: %s: %s", type(error).__name__, error)
            self._failures_in_a_row += 1
            return []
        if not deliveries:
            self._failures_in_a_row = 0
        return deliveries

    async def _work(self, delivery: Delivery) -> None:
        try:
            await self._workflow.run(order_id_of(delivery.body))
        except Exception as error:  # noqa: BLE001  whatever one order does, the others go on
            self._failures_in_a_row += 1
            if self._is_outage(error):
                self.deferred += 1
                await self._defer(delivery, error)
            else:
                self.failed += 1
                await self._release(delivery, error)
        else:
            self.processed += 1
            self._failures_in_a_row = 0
            await self._acknowledge(delivery)

    async def _release(self, delivery: Delivery, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        delay_s = min(FIRST_RETRY_S * 4 ** (delivery.attempt - 1), MAX_RETRY_S) * self._jitter()
        try:
            is_dead = await self._queue.release(delivery, delay_s, reason=reason)
        except Exception as fault:  # noqa: BLE001  it comes again by itself when its visibility ends
            _log.warning("could not release a delivery (%s) whose order failed: %s", fault, reason)
            return
        self.dead_lettered += is_dead
        if is_dead:
            _log.error("a delivery is dead after %d attempts: %s", delivery.attempt, reason)
        else:
            _log.warning("attempt %d at an order failed, next in %.1f s: %s", delivery.attempt, delay_s, reason)

    async def _defer(self, delivery: Delivery, error: Exception) -> None:
        retry_after_s = error.retry_after_s if isinstance(error, DependencyTripped) else 0.0
        # Spread over as long again: what comes back should not meet all of them at once.
        delay_s = max(retry_after_s, MIN_DEFER_S) * (1.0 + self._chance())
        try:
            await self._queue.defer(delivery, delay_s)
        except Exception as fault:  # noqa: BLE001  it comes again by itself when its visibility ends
            _log.warning("could not defer a delivery (%s) whose order met an outage: %s", fault, error)
            return
        _log.info("an order waits for what is away, next try in %.1f s: %s", delay_s, error)

    async def _acknowledge(self, delivery: Delivery) -> None:
        """Tell the queue, together with all that finish while it is being told of those before."""
        self._finished.append(delivery)
        async with self._acknowledging:
            batch, self._finished = self._finished[:BATCH], self._finished[BATCH:]
            if not batch:
                return
            try:
                await self._queue.acknowledge(batch)
            except Exception as error:  # noqa: BLE001  they come again, and nothing is done twice
                _log.warning("could not tell the queue that %d deliveries are done: %s", len(batch), error)

    async def _keep_extending(self) -> None:
        """Extend what has been in hand since the last look; most orders finish sooner and cost nothing here."""
        seen: set[asyncio.Task[None]] = set()
        while True:
            await self._sleep(self._visibility_s / 3)
            slow = [delivery for task, delivery in self._in_hand.items() if task in seen]
            seen = set(self._in_hand)
            extended = [self._queue.extend(delivery, self._visibility_s) for delivery in slow]
            for outcome in await asyncio.gather(*extended, return_exceptions=True):
                if isinstance(outcome, Exception):
                    _log.warning("could not extend a delivery, its order may be worked on twice: %s", outcome)

    async def _drain(self) -> None:
        if not self._in_hand:
            return
        _, unfinished = await asyncio.wait(self._in_hand, timeout=self._drain_s)
        for task in unfinished:
            task.cancel()

    def _jitter(self) -> float:
        return 0.5 + self._chance() / 2

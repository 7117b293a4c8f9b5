"""The order worker: receives accepted orders from the queue and runs their workflow."""

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
from primitives.backoff import Backoff
from primitives.outages import level_of

_log = logging.getLogger(__name__)

BATCH: Final = 10  # the limit of `OrderQueue`
# Between attempts of a stopping worker to interrupt its receive, which may be about to wait.
INTERRUPT_S: Final = 0.05
# The longest wait for a free slot, so that `stop` takes effect in this time.
NOTICE_S: Final = 1.0
# Before the next receive, while deliveries fail in a row.
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 0.8
# Of a failed delivery.
FIRST_RETRY_S: Final = 2.0
MAX_RETRY_S: Final = 120.0
RETRY_FACTOR: Final = 4.0
# The shortest delay of an order that needs a service which is cut off.
MIN_DEFER_S: Final = 1.0


class OrderWorkflow(Protocol):
    """The part of `checkout.workflow.Workflow` that the worker needs."""

    async def run(self, order_id: OrderId) -> Order:
        """Complete or cancel the order; raises if neither is possible now."""
        ...


class OrderWorker:
    """Runs the workflow for each delivery of the queue, `concurrency` orders at a time.

    A delivery is acknowledged when its order is completed or cancelled. A delivery that fails is released, to be delivered
    again after 2, 8, 32 and 120 s, less a random half, until the queue dead-letters it. The visibility of a delivery is
    extended, by `visibility_s` at a time, while its order is processed.

    A delivery that fails by an outage of a service that all orders need (`is_outage` of the error) is deferred: it is
    delivered again when the service may be back, and is never dead-lettered for it.

    After `stop` the worker receives no more; orders in progress have `drain_s` to finish, and are delivered again if they
    do not. `run` may be called again after it raised.

    `processed`, `failed`, `dead_lettered` and `deferred` count deliveries: acknowledged, released, released for the last
    time, and deferred.
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
        self._retries = Backoff(FIRST_RETRY_S, MAX_RETRY_S, factor=RETRY_FACTOR, chance=chance)
        self._pauses = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, chance=chance)
        self._stopping = asyncio.Event()
        self._in_progress: dict[asyncio.Task[None], Delivery] = {}
        self._finished: list[Delivery] = []
        self._acknowledging = asyncio.Lock()

    @property
    def in_progress(self) -> int:
        """The number of deliveries in progress."""
        return len(self._in_progress)

    def stop(self) -> None:
        """Make `run` finish the orders in progress and return, within 1 s plus `drain_s`.

        A queue that cannot be interrupted adds `wait_s`.
        """
        self._stopping.set()

    async def run(self) -> None:
        """Process orders until `stop`. Errors of orders and of the queue do not end it."""
        async with asyncio.TaskGroup() as group:
            extending = group.create_task(self._extend_forever())
            interrupting = group.create_task(self._interrupt_on_stop())
            while not self._stopping.is_set():
                for delivery in await self._receive():
                    task = group.create_task(self._work(delivery))
                    self._in_progress[task] = delivery
                    task.add_done_callback(self._in_progress.pop)
            interrupting.cancel()
            await self._drain()
            extending.cancel()

    async def _interrupt_on_stop(self) -> None:
        await self._stopping.wait()
        while True:
            try:
                await self._queue.interrupt()
            except Exception:  # noqa: BLE001 - then `receive` returns after `wait_s`
                return
            await self._sleep(INTERRUPT_S)

    async def _receive(self) -> Sequence[Delivery]:
        """The next deliveries; none if the queue is empty or away, or no slot is free."""
        if self._pauses.failures:
            # If every order fails, for example because the store is away, receiving more uses up their deliveries.
            await self._sleep(self._pauses.delay_s(self._pauses.failures))
        free = self._concurrency - len(self._in_progress)
        if not free:
            await asyncio.wait(self._in_progress, timeout=NOTICE_S, return_when=asyncio.FIRST_COMPLETED)
            return []
        try:
            deliveries = await self._queue.receive(min(free, BATCH), self._wait_s)
        except Exception as error:  # noqa: BLE001 - the queue may come back
            _log.log(
                level_of(error),
                "receiving orders from the queue failed; trying again: %s: %s",
                type(error).__name__,
                error,
            )
            self._pauses.failures += 1
            return []
        if not deliveries:
            self._pauses.reset()
        return deliveries

    async def _work(self, delivery: Delivery) -> None:
        try:
            await self._workflow.run(order_id_of(delivery.body))
        except Exception as error:  # noqa: BLE001 - the error of an order does not stop the others
            self._pauses.failures += 1
            if self._is_outage(error):
                self.deferred += 1
                await self._defer(delivery, error)
            else:
                self.failed += 1
                await self._release(delivery, error)
        else:
            self.processed += 1
            self._pauses.reset()
            await self._acknowledge(delivery)

    async def _release(self, delivery: Delivery, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        delay_s = self._retries.delay_s(delivery.attempt)
        try:
            is_dead = await self._queue.release(delivery, delay_s, reason=reason)
        except Exception as fault:  # noqa: BLE001 - it is delivered again when its visibility ends
            _log.log(
                level_of(fault), "releasing a failed order (%s) failed; it is delivered again later: %s", reason, fault
            )
            return
        self.dead_lettered += is_dead
        if is_dead:
            _log.error("an order failed %d times and is dead-lettered: %s", delivery.attempt, reason)
        else:
            _log.warning("attempt %d of an order failed; trying again in %.1f s: %s", delivery.attempt, delay_s, reason)

    async def _defer(self, delivery: Delivery, error: Exception) -> None:
        retry_after_s = error.retry_after_s if isinstance(error, DependencyTripped) else 0.0
        # With jitter, so that a service that comes back does not receive all deferred orders at once.
        delay_s = max(retry_after_s, MIN_DEFER_S) * (1.0 + self._chance())
        try:
            await self._queue.defer(delivery, delay_s)
        except Exception as fault:  # noqa: BLE001 - it is delivered again when its visibility ends
            _log.log(level_of(fault), "deferring an order (%s) failed; it is delivered again later: %s", error, fault)
            return
        _log.debug("an order waits for a service that is away; trying again in %.1f s: %s", delay_s, error)

    async def _acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge the delivery, in a batch with those that finish during the previous acknowledgement."""
        self._finished.append(delivery)
        async with self._acknowledging:
            batch, self._finished = self._finished[:BATCH], self._finished[BATCH:]
            if not batch:
                return
            try:
                await self._queue.acknowledge(batch)
            except Exception as error:  # noqa: BLE001 - they are delivered again, and steps are idempotent
                _log.log(
                    level_of(error),
                    "acknowledging %d deliveries failed; they are delivered again: %s",
                    len(batch),
                    error,
                )

    async def _extend_forever(self) -> None:
        """Extend the deliveries that were in progress at the previous round too; most orders finish within one round."""
        seen: set[asyncio.Task[None]] = set()
        while True:
            await self._sleep(self._visibility_s / 3)
            slow = [delivery for task, delivery in self._in_progress.items() if task in seen]
            seen = set(self._in_progress)
            extended = [self._queue.extend(delivery, self._visibility_s) for delivery in slow]
            for outcome in await asyncio.gather(*extended, return_exceptions=True):
                if isinstance(outcome, Exception):
                    _log.log(
                        level_of(outcome), "extending a delivery failed; its order may be processed twice: %s", outcome
                    )

    async def _drain(self) -> None:
        if not self._in_progress:
            return
        _, unfinished = await asyncio.wait(self._in_progress, timeout=self._drain_s)
        for task in unfinished:
            task.cancel()

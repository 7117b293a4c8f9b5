"""The order worker: receives accepted orders from the queue and has them processed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cart.model import OrderId
from checkout.errors import OrderNotFound
from checkout.message_traces import Processing
from checkout.order_number import order_number
from checkout.ports.queue import Delivery, OrderQueue
from checkout.processor import Later
from checkout.received_message import NotAnOrderMessage, order_id_of
from primitives.backoff import Backoff
from primitives.outages import level_of
from primitives.tracing.tracer import Tracer
from primitives.unit_of_work import unit_of_work

_log = logging.getLogger(__name__)

BATCH: Final = 10  # the limit of `OrderQueue`
# Rounds of extending in the visibility of a delivery: it is extended after two at most, and two attempts may hang.
ROUNDS: Final = 6
# Between attempts of a stopping worker to interrupt its receive, which may be about to wait.
INTERRUPT_S: Final = 0.05
# The longest wait for a free slot, so that `stop` takes effect in this time.
NOTICE_S: Final = 1.0
# Before the next receive, while deliveries fail in a row.
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 0.8
# Of a delivery whose order is not found, and of one that cannot be dead-lettered.
FIRST_RETRY_S: Final = 2.0
MAX_RETRY_S: Final = 120.0
RETRY_FACTOR: Final = 4.0
# So many deliveries of a message whose order is not found: it may be found once the store has recovered.
MAX_SEARCHES: Final = 5
# How long a stopping worker tries to return a delivery.
RETURN_S: Final = 1.0


class OrderWorker:
    """Has the order of each delivery of the queue processed, `concurrency` orders at a time.

    `process` runs an order once (`checkout.processor`). A delivery is acknowledged when it returns None, and is released
    for another attempt otherwise, as often as it takes: it decides itself when an order is given up. The visibility of a
    delivery is extended, by `visibility_s` at a time, from its receipt until it is acknowledged or released, also while its
    order waits for others.

    A message that is not about an order of this shop is dead-lettered.

    After `stop` the worker receives no more; orders in progress have `drain_s` to finish, and are delivered again at once
    if they do not. `run` may be called again after it raised.

    `tracer` records the processing of deliveries: see `Processing`.

    `processed`, `released` and `dead_lettered` count deliveries.
    """

    def __init__(
        self,
        queue: OrderQueue,
        process: Callable[[OrderId], Awaitable[Later | None]],
        *,
        concurrency: int = 64,
        wait_s: float = 2.0,
        visibility_s: float = 30.0,
        drain_s: float = 20.0,
        tracer: Tracer | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.processed = 0
        self.released = 0
        self.dead_lettered = 0
        self._queue = queue
        self._process = process
        self._concurrency = concurrency
        self._wait_s = wait_s
        self._visibility_s = visibility_s
        self._drain_s = drain_s
        self._tracer = tracer
        self._sleep = sleep
        self._retries = Backoff(FIRST_RETRY_S, MAX_RETRY_S, factor=RETRY_FACTOR, chance=chance)
        self._pauses = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, chance=chance)
        self._stopping = asyncio.Event()
        self._receiving: asyncio.Timeout | None = None
        self._in_progress: dict[asyncio.Task[None], Delivery] = {}
        self._finished: list[Delivery] = []
        self._acknowledging = asyncio.Lock()

    @property
    def in_progress(self) -> int:
        """The number of deliveries in progress."""
        return len(self._in_progress)

    def stop(self) -> None:
        """Make `run` finish the orders in progress and return, within 1 s plus `drain_s`.

        A queue that cannot interrupt a receive adds `wait_s`; the receive of one that hangs is cancelled.
        """
        self._stopping.set()

    async def run(self) -> None:
        """Process orders until `stop`. Errors of orders and of the queue do not end it."""
        async with asyncio.TaskGroup() as group:
            extending = group.create_task(self._extend_forever())
            interrupting = group.create_task(self._interrupt_on_stop())
            while not self._stopping.is_set():
                # A delivery that was received is worked on, and acknowledged or released too.
                with unit_of_work():
                    for delivery in await self._receive():
                        task = group.create_task(self._work(delivery))
                        self._in_progress[task] = delivery
                        task.add_done_callback(self._in_progress.pop)
            interrupting.cancel()
            await self._drain()
            extending.cancel()

    async def _interrupt_on_stop(self) -> None:
        await self._stopping.wait()
        self._cancel_receive_in(self._wait_s)
        while True:
            try:
                await self._queue.interrupt()
            except Exception:  # noqa: BLE001 - the queue is away or hangs, and so would the receive
                self._cancel_receive_in(0.0)
                return
            await self._sleep(INTERRUPT_S)

    def _cancel_receive_in(self, seconds: float) -> None:
        """Deliveries that the queue sends to a cancelled receive are delivered again. One that is being cancelled stays so."""
        if self._receiving is not None and not self._receiving.expired():
            self._receiving.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _receive(self) -> Sequence[Delivery]:
        """The next deliveries; none if the queue is empty or away, or no slot is free."""
        if self._pauses.failures:
            # While every order fails, for example because the store is away, receiving more is of no use.
            await self._sleep(self._pauses.delay_s(self._pauses.failures))
            if self._stopping.is_set():
                return []
        free = self._concurrency - len(self._in_progress)
        if not free:
            await asyncio.wait(self._in_progress, timeout=NOTICE_S, return_when=asyncio.FIRST_COMPLETED)
            return []
        try:
            async with asyncio.timeout(None) as self._receiving:
                deliveries = await self._queue.receive(min(free, BATCH), self._wait_s)
        except Exception as error:  # noqa: BLE001 - the queue may come back
            if self._stopping.is_set():
                return []
            _log.log(
                level_of(error),
                "receiving orders from the queue failed; trying again: %s: %s",
                type(error).__name__,
                error,
            )
            self._pauses.failures += 1
            return []
        finally:
            self._receiving = None
        if not deliveries:
            self._pauses.reset()
        return deliveries

    async def _work(self, delivery: Delivery) -> None:
        try:
            with Processing(self._tracer, delivery) as processing:
                later = await self._process(order_id_of(delivery.body))
                if later is not None:
                    processing.release()
        except asyncio.CancelledError:
            await self._return(delivery)
            raise
        except NotAnOrderMessage as error:
            await self._dead_letter(delivery, error)
        except OrderNotFound as error:
            if delivery.attempt >= MAX_SEARCHES:
                await self._dead_letter(delivery, error)
            else:
                await self._release(delivery, self._retries.delay_s(delivery.attempt))
        except Exception:  # noqa: BLE001 - a fault of the processor must not stop the others
            _log.exception("processing an order failed; trying again")
            self._pauses.failures += 1
            await self._release(delivery, MAX_RETRY_S)
        else:
            if later is None:
                self.processed += 1
                self._pauses.reset()
                await self._acknowledge(delivery)
            else:
                self._pauses.failures += later.by_outage
                await self._release(delivery, later.delay_s)

    async def _release(self, delivery: Delivery, delay_s: float) -> None:
        self.released += 1
        try:
            await self._queue.release(delivery, delay_s)
        except Exception as fault:  # noqa: BLE001 - it is delivered again when its visibility ends
            _log.log(level_of(fault), "releasing an order failed; it is delivered again later: %s", fault)

    async def _return(self, delivery: Delivery) -> None:
        """Release the delivery of an order that a stopping worker could not finish."""
        with contextlib.suppress(Exception):  # it is delivered again when its visibility ends
            async with asyncio.timeout(RETURN_S):
                await self._queue.release(delivery, 0)

    async def _dead_letter(self, delivery: Delivery, error: Exception) -> None:
        name = _name_of(delivery)
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        try:
            await self._queue.dead_letter(delivery, reason=reason)
        except Exception as fault:  # noqa: BLE001 - tried again at its next delivery
            _log.log(level_of(fault), "%s is no order of this shop, and could not be dead-lettered: %s", name, fault)
            await self._release(delivery, MAX_RETRY_S)
            return
        self.dead_lettered += 1
        _log.error("%s is dead-lettered, because it is no order of this shop: %s", name, reason)

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
        """Extend the deliveries that were received before the previous round, started or not; most orders end before."""
        seen: set[asyncio.Task[None]] = set()
        while True:
            await self._sleep(self._visibility_s / ROUNDS)
            slow = [delivery for task, delivery in self._in_progress.items() if task in seen]
            seen = set(self._in_progress)
            if slow:
                await self._extend(slow)

    async def _extend(self, deliveries: Sequence[Delivery]) -> None:
        try:
            # A call that hangs does not use up the time of the next ones.
            async with asyncio.timeout(self._visibility_s / ROUNDS):
                await self._queue.extend(deliveries, self._visibility_s)
        except Exception as error:  # noqa: BLE001 - tried again in the next round
            _log.log(
                level_of(error),
                "extending %d deliveries failed; if it goes on, they are delivered again: %s",
                len(deliveries),
                error,
            )

    async def _drain(self) -> None:
        if not self._in_progress:
            return
        _, unfinished = await asyncio.wait(self._in_progress, timeout=self._drain_s)
        for task in unfinished:
            task.cancel()


def _name_of(delivery: Delivery) -> str:
    """The number of the order, or a hash that identifies a message without its content."""
    try:
        return f"order {order_number(order_id_of(delivery.body))}"
    except NotAnOrderMessage:
        return f"the message with SHA-256 {hashlib.sha256(delivery.body).hexdigest()[:16]}"

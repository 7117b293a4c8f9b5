"""One run of one order: its lease, its workflow, and the account of its failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import msgspec

from cart.model import OrderId
from checkout.errors import (
    DependencyTripped,
    LeaseLost,
    OrderNotFound,
    ResolveLater,
    ServiceUnavailable,
    UnknownWorkflow,
)
from checkout.lanes import Lane
from checkout.order import Order
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.progress import SUSPECT_DEATHS, Busy, Early, Progress, SetAside, Taken, Tally
from checkout.workflow.runner import Hold
from checkout.workflow.table import MAX_DEADLINE_S
from primitives.backoff import Backoff

_log = logging.getLogger(__name__)

# A call of a step begins in the first half of a lease, and ends before the lease does.
LEASE_S: Final = 2 * MAX_DEADLINE_S
# An order that failed so often itself is given up.
MAX_FAILURES: Final = 5
# How long an order waits for a service that does not respond to it.
PATIENCE_S: Final = 900.0
FIRST_RETRY_S: Final = 2.0
MAX_RETRY_S: Final = 120.0
RETRY_FACTOR: Final = 4.0
# The shortest delay of an order that waits for something else than itself.
MIN_DEFER_S: Final = 1.0
# Until an order of a later version of the workflow is offered to a worker again, which may be a newer one.
NEWER_WORKER_S: Final = 5.0
# After the end of the lease of another worker.
BUSY_S: Final = 0.1
# The clock of the queue may be so far ahead of that of the store.
EARLY_S: Final = 0.25
# How long a stopping worker tries to end a lease.
RELEASE_S: Final = 1.0


class Later(msgspec.Struct, frozen=True):
    """The order is to be delivered again after `delay_s`. `by_outage`: a dependency of all orders is away."""

    delay_s: float
    by_outage: bool = False


class OrderWorkflow(Protocol):
    """The part of `checkout.workflow.runner.Workflow` that a run needs."""

    async def run(self, order: Order, hold: Hold) -> Order:
        """Complete or cancel the order; raises if neither is possible now."""
        ...

    def give_up_s(self, version: int, status: OrderStatus | None) -> float | None:
        """How long an order of this version waits for a response in this status; None for the time of all orders."""
        ...

    async def give_up(self, order: Order, detail: str, hold: Hold) -> bool:
        """Cancel the order and return its stock; False if it may have been paid for."""
        ...


class Counts(msgspec.Struct):
    """Runs by their end: the order has ended, failed by itself, waits for something else, or needs a person."""

    ended: int = 0
    failed: int = 0
    deferred: int = 0
    set_aside: int = 0


class OrderProcessor:
    """Runs orders, each under a lease, so that no other worker runs it at the same time.

    Only its own failures use an order up: `max_failures` of them, tried again after 2, 8, 32 and 120 s, less a random half.
    A death of its worker, a shutdown, or an outage (`is_outage` of the error, or an open breaker) is not its own. An order
    that several workers died with runs with no other such order beside it, and then a death counts.

    An order that gets no response from a service leaves its slot. It runs again with `patient`, a workflow whose calls
    are not counted by breakers, in a quarter of the slots; the service has `patience_s` to respond.

    An order that is used up, or whose time is, is cancelled and its stock returned if no payment was asked for. Otherwise
    it is set aside for a person.

    A run is `pinned` to one connection of the store (`store.pinned`): no step is undone, and no hold deleted, because of a
    transition that the store has lost meanwhile. `concurrency` is the number of slots of the worker; `holder` names the process.
    """

    def __init__(
        self,
        progress: Progress,
        workflow: OrderWorkflow,
        patient: OrderWorkflow,
        *,
        holder: str,
        pinned: Callable[[], AbstractContextManager[None]] = nullcontext,
        concurrency: int = 64,
        max_failures: int = MAX_FAILURES,
        patience_s: float = PATIENCE_S,
        lease_s: float = LEASE_S,
        is_outage: Callable[[Exception], bool] = lambda _error: False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.counts = Counts()
        self._progress = progress
        self._workflow = workflow
        self._patient = patient
        self._holder = holder
        self._pinned = pinned
        self._max_failures = max_failures
        self._patience_s = patience_s
        self._lease_s = lease_s
        self._is_outage = is_outage
        self._clock = clock
        self._chance = chance
        self._retries = Backoff(FIRST_RETRY_S, MAX_RETRY_S, factor=RETRY_FACTOR, chance=chance)
        self._running: set[OrderId] = set()
        self._unknown_versions: set[int] = set()
        self._fresh = Lane(concurrency)
        self._silent = Lane(max(1, concurrency // 4))
        self._suspects = Lane(1)

    async def process(self, order_id: OrderId) -> Later | None:
        """Run the order once; None if its message is done with: it has ended, or a person is to act.

        Raises `OrderNotFound`.
        """
        if order_id in self._running:  # a duplicate of its message
            return self._defer(MIN_DEFER_S)
        self._running.add(order_id)
        try:
            return await self._take_and_run(order_id)
        finally:
            self._running.discard(order_id)

    async def _take_and_run(self, order_id: OrderId) -> Later | None:
        hold, version = self._hold_of(order_id), 0
        try:
            with self._pinned():
                taken = await self._progress.take(order_id, self._holder)
                if isinstance(taken, Taken):
                    version = taken.order.workflow
                    return await self._run(taken, hold)
        except asyncio.CancelledError:
            await self._end_lease(order_id)
            raise
        except Exception as error:  # noqa: BLE001 - the error of an order does not stop the others
            return await self._after(order_id, version, error)
        return self._not_taken(taken)

    def _not_taken(self, reply: Busy | Early | SetAside | None) -> Later | None:
        if reply is None:
            raise OrderNotFound
        if isinstance(reply, SetAside):
            return None
        self.counts.deferred += 1
        return Later(reply.retry_after_ms / 1000 + BUSY_S)

    async def _run(self, taken: Taken, hold: Hold) -> Later | None:
        order_id = taken.order.id
        if taken.failures >= self._max_failures:
            return await self._give_up(order_id, f"{taken.deaths} workers died while they worked on it")
        lane = self._lane_of(taken)
        if lane.is_full:
            return await self._put_back(order_id, taken.order.workflow, MIN_DEFER_S)
        workflow = self._patient if taken.unanswered_runs else self._workflow
        with lane.slot():
            order = await workflow.run(taken.order, hold)
        # The transition to `completed` ends the lease, unless there were facts, or some came during this run.
        if order.status is not OrderStatus.COMPLETED or taken.order.facts or order.facts:
            await self._progress.put_back(order_id, self._holder)
        self.counts.ended += 1
        return None

    def _lane_of(self, taken: Taken) -> Lane:
        if taken.deaths >= SUSPECT_DEATHS:
            return self._suspects
        return self._silent if taken.unanswered_runs else self._fresh

    def _hold_of(self, order_id: OrderId) -> Hold:
        """Renews a lease that begins now, once half of it is over."""
        renew_at = self._clock() + self._lease_s / 2

        async def hold() -> None:
            nonlocal renew_at
            now = self._clock()
            if now < renew_at:
                return
            if not await self._progress.renew(order_id, self._holder):
                raise LeaseLost
            renew_at = now + self._lease_s / 2

        return hold

    # The run has failed

    async def _after(self, order_id: OrderId, version: int, error: Exception) -> Later | None:
        """Account for the failure of a run."""
        try:
            if isinstance(error, LeaseLost):
                return self._defer(MIN_DEFER_S)
            if isinstance(error, UnknownWorkflow):
                self._warn_of(error.version)
                await self._end_lease(order_id)
                return self._defer(NEWER_WORKER_S)
            if isinstance(error, DependencyTripped):
                delay_s = max(error.retry_after_s, MIN_DEFER_S)
                return await self._put_back(order_id, version, delay_s, unanswered=error.was_called, by_outage=True)
            if isinstance(error, ResolveLater):
                return await self._put_back(order_id, version, error.retry_after_s, unanswered=True)
            if isinstance(error, ServiceUnavailable | TimeoutError):
                _log.warning("order %s waits for a response: %s", order_number(order_id), _text(error))
                return await self._put_back(order_id, version, FIRST_RETRY_S, unanswered=True)
            if not self._is_outage(error):
                return await self._after_own_failure(order_id, error)
            await self._end_lease(order_id)
        except Exception as fault:  # noqa: BLE001 - it is delivered again, and its lease expires
            level = logging.DEBUG if self._is_outage(fault) else logging.ERROR
            _log.log(level, "order %s: its failure is not counted: %s", order_number(order_id), _text(fault))
        return self._defer(MIN_DEFER_S, by_outage=True)

    def _warn_of(self, version: int) -> None:
        """Say once that orders wait for a worker that has this version of the workflow."""
        if version not in self._unknown_versions:
            self._unknown_versions.add(version)
            _log.warning("orders of version %d of the workflow wait for a newer worker", version)

    async def _put_back(
        self, order_id: OrderId, version: int, delay_s: float, *, unanswered: bool = False, by_outage: bool = False
    ) -> Later | None:
        """Put back an order that waits for something else than itself, unless its time is up."""
        tally = await self._progress.put_back(order_id, self._holder, unanswered=unanswered) or Tally()
        give_up_s = self._workflow.give_up_s(version, tally.status) if tally.unanswered_runs else None
        patience_s = self._patience_s if give_up_s is None else give_up_s
        if tally.unanswered_runs and tally.unanswered_ms >= patience_s * 1000:
            return await self._give_up(order_id, f"no response to it in {tally.unanswered_ms / 1000:.0f} s")
        if unanswered:
            delay_s = max(delay_s, self._retries.delay_s(tally.unanswered_runs))
            await self._keep_delay(order_id, delay_s)
        return self._defer(delay_s, by_outage=by_outage)

    async def _after_own_failure(self, order_id: OrderId, error: Exception) -> Later | None:
        tally = await self._progress.put_back(order_id, self._holder, failed=True) or Tally()
        self.counts.failed += 1
        if tally.failures >= self._max_failures:
            return await self._give_up(order_id, f"it failed {tally.failures} times, at last by {_text(error)}")
        delay_s = self._retries.delay_s(max(tally.failures, 1))
        await self._keep_delay(order_id, delay_s)
        _log.warning(
            "order %s failed, %d of %d times; trying again in %.1f s: %s",
            order_number(order_id),
            tally.failures,
            self._max_failures,
            delay_s,
            _text(error),
        )
        return Later(delay_s)

    async def _keep_delay(self, order_id: OrderId, delay_s: float) -> None:
        """Keep the delay in the store, for a message that comes sooner; it ends a little before that of the queue."""
        with contextlib.suppress(Exception):  # then the queue alone delays it
            await self._progress.delay(order_id, round((delay_s - EARLY_S) * 1000))

    async def _give_up(self, order_id: OrderId, reason: str) -> Later | None:
        """Cancel the order if no payment was asked for; otherwise set it aside for a person."""
        try:
            taken = await self._progress.take(order_id, self._holder)
            if not isinstance(taken, Taken):
                return self._not_taken(taken)
            if await self._workflow.give_up(taken.order, reason, self._hold_of(order_id)):
                await self._progress.put_back(order_id, self._holder)
                self.counts.ended += 1
                _log.error("order %s is cancelled, and its stock returned: %s", order_number(order_id), reason)
                return None
            reason = f"{_UNFINISHED[taken.order.status]}: {reason}"
        except Exception as error:
            if isinstance(error, LeaseLost | UnknownWorkflow) or self._is_outage(error):
                raise
            reason = f"{reason}; it could not be cancelled: {_text(error)}"
        if not await self._progress.set_aside(order_id, self._holder, reason=reason):
            return self._defer(MIN_DEFER_S)
        self.counts.set_aside += 1
        _log.error("order %s needs attention: %s", order_number(order_id), reason)
        return None

    async def _end_lease(self, order_id: OrderId) -> None:
        """End the lease without counting anything, if the store replies."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RELEASE_S):
                await self._progress.put_back(order_id, self._holder)

    def _defer(self, delay_s: float, *, by_outage: bool = False) -> Later:
        self.counts.deferred += 1
        # With jitter, so that a service that comes back does not receive all deferred orders at once.
        return Later(delay_s * (1.0 + self._chance()), by_outage)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


# What is not known of an order that is set aside in a status.
_UNFINISHED: Final = {
    OrderStatus.ACCEPTED: "its stock may be held",
    OrderStatus.STOCK_CONFIRMED: "its payment may be authorised",
    OrderStatus.PAYMENT_AUTHORISED: "its payment is authorised, its shipment may be booked",
    OrderStatus.SHIPPING_ARRANGED: "its shipment is booked, its payment may be captured",
    OrderStatus.COMPLETED: "it is completed, records of its stock or facts are left",
    OrderStatus.CANCELLED: "it is cancelled, and a step may not be undone",
    OrderStatus.SHIPPED: "it is shipped, facts are left",
    OrderStatus.DELIVERED: "it is delivered, facts are left",
    OrderStatus.RETURNED: "it is returned, facts are left",
}

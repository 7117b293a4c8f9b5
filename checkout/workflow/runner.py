"""Runs orders through the steps of their workflow: retries, and the undoing of a cancelled order's steps."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import (
    CannotRunAgain,
    Declined,
    DependencyTripped,
    LeaseLost,
    OrderNotFound,
    ResolveLater,
    ServiceNotReached,
    ServiceUnavailable,
    StatusConflict,
    UnknownWorkflow,
)
from checkout.facts import RetryFrom
from checkout.low_stock import LowStock
from checkout.order import Order
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Orders
from checkout.ports.services import Notifications, Payments, Shipping
from checkout.ports.step_observer import StepObserver, StepResult, UnobservedSteps
from checkout.ports.stock import Stock
from checkout.steps.step import Services, Step
from checkout.workflow.orders import TABLES
from checkout.workflow.table import StepRow, WorkflowTable
from primitives.backoff import Backoff
from primitives.tracing.spans import span

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Applies a fact, of one kind: the order at its next revision, or None while the time for it has not come.
FactHandler = Callable[[Order, Any], Awaitable[Order | None]]
NO_FACTS: Final[Mapping[type, FactHandler]] = MappingProxyType({})

# Makes sure that this worker has the lease of the order for one more call. Raises `LeaseLost`.
Hold = Callable[[], Awaitable[None]]


async def _no_lease() -> None:
    """For an order that no other worker can run."""


@dataclass(frozen=True, slots=True)
class TableStep:
    """A row of a table with its step."""

    row: StepRow
    step: Step


class TableSteps:
    """The steps of one table, made with the services that they call."""

    def __init__(self, table: WorkflowTable, services: Services) -> None:
        self.table = table
        made = {row.name: TableStep(row, row.step(services)) for row in table.rows}
        for each in made.values():
            if (each.row.undo is not None) != _overrides(each.step, "undo"):
                raise ValueError(f"{each.row.name} has an undo in its table or in its class, but not in both")
        self.by_name = made
        self.stages: Mapping[OrderStatus, Sequence[TableStep]] = {
            status: [made[row.name] for row in rows] for status, rows in table.stages.items()
        }
        # Most steps have nothing to delete: the calls that do nothing are left out.
        self.completing = [each for each in made.values() if _overrides(each.step, "complete")]

    def begins_at(self, step: str) -> OrderStatus:
        """The status of an order when this step runs first. Raises `KeyError`."""
        each = self.by_name[step]
        return next(status for status, stage in self.stages.items() if each in stage)


def _overrides(step: Step, name: str) -> bool:
    return getattr(type(step), name) is not getattr(Step, name)


def order_steps(
    *,
    index: OrderIndex,
    stock: Stock,
    payments: Payments,
    shipping: Shipping,
    notifications: Notifications,
    low_stock: LowStock | None = None,
    tables: Mapping[int, WorkflowTable] = TABLES,
) -> Mapping[int, TableSteps]:
    """The steps of each version of the workflow."""
    services = Services(
        index=index,
        stock=stock,
        payments=payments,
        shipping=shipping,
        notifications=notifications,
        low_stock=low_stock,
    )
    return {version: TableSteps(table, services) for version, table in tables.items()}


class Workflow:
    """Completes or cancels orders, from their current status; `steps` are those of each version of the workflow.

    The stored status of the order is the only record of its steps, and every step is idempotent. So a worker may die at
    any instruction. One worker at a time runs an order: before each call of a step, `hold` makes sure of its lease.

    The transition to `cancelled` is stored before any step is undone. So no worker completes an order that another is
    undoing, and a worker that receives a cancelled order finishes undoing it.

    Deadlines and retries are those of the table. An open breaker (`DependencyTripped`) says nothing about the order: `run`
    raises it at once, and the order keeps its status. If it `leaves_on_timeout`, a call that gets no response within its
    deadline is not repeated: `run` raises `TimeoutError`, and the order keeps its status too.

    `facts` are the handlers of facts, by their type. A fact of another type changes nothing.

    An order of a version that is not in `steps` is not touched: `UnknownWorkflow`.
    """

    def __init__(
        self,
        orders: Orders,
        steps: Mapping[int, TableSteps],
        *,
        facts: Mapping[type, FactHandler] = NO_FACTS,
        leaves_on_timeout: bool = False,
        observer: StepObserver | None = None,
        clock_ms: Callable[[], int] = unix_ms,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._orders = orders
        self._steps = steps
        self._facts = facts
        self._leaves_on_timeout = leaves_on_timeout
        self._observer = observer or UnobservedSteps()
        self._clock_ms = clock_ms
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    async def run(self, order: Order, hold: Hold = _no_lease) -> Order:
        """Complete or cancel the order, and return it; safe to repeat.

        Raises the error for which the order can be neither completed nor cancelled now: run it again later.
        """
        steps = self._steps_of(order)
        while True:
            try:
                order = await self._apply_facts(order, steps, hold)
                if order.status.has_ended:
                    break
                order = await self._advance(order, steps, hold)
            except StatusConflict:
                before, order = order, await self._read(order.id)
                if order.revision == before.revision:
                    raise
        return await self._finish(order, steps, hold)

    async def _apply_facts(self, order: Order, steps: TableSteps, hold: Hold) -> Order:
        """Apply the facts of the order. A fact whose time has not come waits, and is dropped once the order has ended."""
        for fact in order.facts:
            await hold()
            if isinstance(fact, RetryFrom):
                changed: Order | None = await self._run_again(order, fact, steps, hold)
            else:
                handler = self._facts.get(type(fact))
                changed = await handler(order, fact) if handler is not None else order.revised()
            if changed is None and order.status.has_ended:
                changed = order.revised()
            if changed is not None:
                order = await self._orders.update(order, changed, applied=fact)
        return order

    async def _run_again(self, order: Order, wanted: RetryFrom, steps: TableSteps, hold: Hold) -> Order:
        """Run again the steps from the one named to the order's status; those that follow run anyway."""
        try:
            rows = steps.table.rows_to_repeat(order.status, wanted.step)
        except CannotRunAgain as error:  # the order has moved on since an operator wanted it
            _log.warning("order %s is not run again from %s", order.number, error)
            return order.revised()
        again = order
        for row in rows:
            applied = await self._apply(steps.by_name[row.name], again, hold)
            if isinstance(applied, str):
                _log.warning("order %s: step %s failed when it was run again: %s", order.number, row.name, applied)
                break
            again = applied
        return again.revised()

    def give_up_s(self, version: int, status: OrderStatus | None) -> float | None:
        """How long an order of this version waits for a response in this status; None for the time of all orders.

        The time counts in each status, so it is the longest of the steps that lead on from it.
        """
        steps = self._steps.get(version)
        rows = [] if steps is None or status is None else [each.row for each in steps.stages.get(status, ())]
        return max((row.retry.give_up_s for row in rows if row.retry.give_up_s is not None), default=None)

    async def give_up(self, order: Order, detail: str, hold: Hold = _no_lease) -> bool:
        """Cancel an order that cannot be processed, and return its stock; False if it may have been paid for.

        Raises the error for which it cannot be cancelled.
        """
        steps = self._steps_of(order)
        if order.status is not OrderStatus.ACCEPTED:  # the payment is asked for in the next status
            return False
        cancelled = await self._orders.transition(
            order, OrderStatus.CANCELLED, at=self._clock_ms(), detail=detail, reason=CancelReason.NOT_PROCESSED
        )
        await self._finish(cancelled, steps, hold)
        return True

    def _steps_of(self, order: Order) -> TableSteps:
        try:
            return self._steps[order.workflow]
        except KeyError:
            raise UnknownWorkflow(order.workflow) from None

    async def _read(self, order_id: OrderId) -> Order:
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        return order

    async def _advance(self, order: Order, steps: TableSteps, hold: Hold) -> Order:
        """Move the order to its next status, or to `cancelled`."""
        detail = None
        for each in steps.stages[order.status]:
            applied = await self._apply(each, order, hold)
            if not isinstance(applied, str):
                order = applied
                continue
            failure = applied
            _log.debug("order %s: step %s failed: %s", order.number, each.row.name, failure)
            if each.row.fails_as is not None:
                return await self._orders.transition(
                    order, OrderStatus.CANCELLED, at=self._clock_ms(), detail=failure, reason=each.row.fails_as
                )
            detail = f"without {each.row.name}: {failure}"
        return await self._orders.transition(order, NEXT[order.status], at=self._clock_ms(), detail=detail)

    async def _apply(self, each: TableStep, order: Order, hold: Hold) -> Order | str:
        """Apply the step; returns the order with the step's addition, or the reason if it failed for good."""
        result: StepResult = "failed"
        began_at = self._clock()
        try:
            with span(f"step {each.row.name}"):
                applied = await self._with_retries(each.step.apply, each.row, order, hold)
            result = "done"
        except Declined as declined:
            result = "declined"
            return declined.detail
        except (ServiceUnavailable, TimeoutError) as error:
            leaves = self._leaves_on_timeout and isinstance(error, TimeoutError)
            waits = isinstance(error, ResolveLater | ServiceNotReached)
            if leaves or waits or each.row.no_response == "waits":
                raise
            return "no response"
        finally:
            self._observer.step_called(each.row.name, self._clock() - began_at, result)
        return applied or order

    async def _finish(self, order: Order, steps: TableSteps, hold: Hold) -> Order:
        """Undo the steps of a cancelled order, last first; delete the records of a completed one. Then it is settled."""
        if order.status is OrderStatus.CANCELLED:
            order = await self._undo(_started(order, steps), order, hold)
        else:
            for each in steps.completing:
                await self._with_retries(each.step.complete, each.row, order, hold)
        # What was told of it meanwhile is for another run.
        return order if await self._orders.settle(order) else await self._read(order.id)

    async def _undo(self, started: Sequence[TableStep], order: Order, hold: Hold) -> Order:
        failures = []
        for each in reversed(started):
            if each.row.undo is None:
                continue
            try:
                with span(f"undo {each.row.name}"):
                    changed = await self._with_retries(each.step.undo, each.row, order, hold)
                if changed is not None:
                    order = await self._orders.update(order, changed)
            except (LeaseLost, StatusConflict):
                raise
            except Exception as error:  # noqa: BLE001 - the other steps are undone all the same
                failures.append(error)
        if failures:
            raise failures[0]
        return order

    async def _with_retries(self, act: Callable[[Order], Awaitable[_T]], row: StepRow, order: Order, hold: Hold) -> _T:
        """Call until it succeeds, is declined or a breaker is open; raises the failure of the last attempt."""
        attempt = 0
        while True:
            attempt += 1
            await hold()
            try:
                async with asyncio.timeout(row.deadline_s):
                    return await act(order)
            except (Declined, DependencyTripped, ResolveLater):
                raise  # an immediate retry is pointless
            except Exception as error:
                leaves = self._leaves_on_timeout and isinstance(error, TimeoutError)
                if leaves or attempt == row.retry.attempts:
                    raise
            await self._sleep(Backoff(row.retry.backoff_s, math.inf, chance=self._chance).delay_s(attempt))


def _started(order: Order, steps: TableSteps) -> list[TableStep]:
    """The steps that may have been applied, in full or in part, before the order was cancelled."""
    reached = dict.fromkeys(entry.status for entry in order.history)
    return [each for status in reached for each in steps.stages.get(status, ())]

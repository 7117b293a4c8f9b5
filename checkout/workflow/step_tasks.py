"""Single acts of the order workflow, for an engine outside that keeps their sequence: see `checkout.workflow.states_language`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, TypeVar

import msgspec

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import (
    OrderNotFound,
    ResolveLater,
    ServiceNotReached,
    ServiceUnavailable,
    StatusConflict,
    UnknownWorkflow,
)
from checkout.facts import Fact
from checkout.order import Order
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.ports.orders import Orders
from checkout.processor import FIRST_RETRY_S
from checkout.workflow.runner import NO_FACTS, FactHandler, TableStep, TableSteps
from checkout.workflow.table import MAX_DEADLINE_S

_T = TypeVar("_T")

FINISH: Final = "finish"


class NoResponse(Exception):
    """A service did not respond in the time of the step; the call may have taken effect."""


class OrderCancelled(Exception):
    """The order is cancelled: undo its steps."""


class Failure(msgspec.Struct, frozen=True, rename="pascal"):
    """The failure of a task as an engine reports it: the name of the error, and its text or the JSON of a Lambda function."""

    error: str = ""
    cause: str | None = None

    @property
    def detail(self) -> str:
        """The text for people."""
        if self.error in {"NoResponse", "States.Timeout"}:
            return "no response"
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(self.cause or "", type=_FunctionError).message
        return self.cause or self.error


class _FunctionError(msgspec.Struct):
    message: str = msgspec.field(name="errorMessage")


class StepTask(msgspec.Struct, frozen=True, kw_only=True):
    """An act on an order of this version of the workflow. `failure` is that of the step, for `cancel` and `skip`."""

    order_id: OrderId
    workflow: int
    act: Literal["apply", "skip", "cancel", "undo", "finish"]
    step: str = ""
    failure: Failure = Failure()


class StepTasks:
    """Runs tasks. Every task is idempotent, and an engine may give it to several workers at once.

    `apply` takes a step and stores the status that it reaches; `skip` stores that status without the step; `cancel` cancels
    the order because the step has failed; `undo` reverses a step of a cancelled order; `finish` deletes the records
    that an order needs until it has ended.

    Each task first applies the facts that came meanwhile, as a worker does. `RetryFrom` is left to an order worker: the
    sequence of steps is the engine's.
    """

    def __init__(
        self,
        orders: Orders,
        steps: Mapping[int, TableSteps],
        *,
        facts: Mapping[type, FactHandler] = NO_FACTS,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._orders = orders
        self._steps = steps
        self._facts = facts
        self._clock_ms = clock_ms

    async def run(self, task: StepTask) -> None:
        """Run one task.

        Raises `Declined`, `NoResponse`, `DependencyTripped`, `ServiceNotReached`, `ResolveLater`, `OrderCancelled`, or another
        error of the task itself; engines go by these names.
        """
        try:
            steps = self._steps[task.workflow]
        except KeyError:
            raise UnknownWorkflow(task.workflow) from None
        order = await self._with_facts_applied(await self._read(task.order_id))
        if task.act == FINISH:
            await self._finish(order, steps)
            return
        each = steps.by_name[task.step]
        match task.act:
            case "apply" | "skip":
                if order.status is OrderStatus.CANCELLED:
                    raise OrderCancelled
                # In another status it is done: an engine repeats a task whose result was lost.
                if order.status is steps.begins_at(task.step):
                    await self._advance(order, each, task)
            case "cancel":
                if order.status is not OrderStatus.CANCELLED:
                    await self._move(order, OrderStatus.CANCELLED, task.failure.detail, each.row.fails_as)
            case _:
                if order.status is not OrderStatus.CANCELLED:
                    raise StatusConflict(order.status)
                await self._undo(order, each)

    async def _advance(self, order: Order, each: TableStep, task: StepTask) -> None:
        if task.act == "skip":
            await self._move(order, NEXT[order.status], f"without {each.row.name}: {task.failure.detail}")
            return
        applied = await _in_time(each.step.apply, order, each.row.name, each.row.deadline_s)
        changed = order if applied is None else applied
        if each.row.reaches is not None:
            await self._move(changed, each.row.reaches)
        elif changed != order:
            await self._orders.update(order, changed.revised())

    async def _finish(self, order: Order, steps: TableSteps) -> None:
        if order.status is not OrderStatus.CANCELLED:
            for each in steps.completing:
                await each.step.complete(order)
        if not await self._orders.settle(order):  # facts came meanwhile
            await self._orders.settle(await self._with_facts_applied(await self._read(order.id)))

    async def _undo(self, order: Order, each: TableStep) -> None:
        changed = await _in_time(each.step.undo, order, each.row.name, each.row.deadline_s)
        if changed is not None:
            await self._orders.update(order, changed)

    async def _with_facts_applied(self, order: Order) -> Order:
        """The order after its facts, but those that wait for a later status."""
        while True:
            try:
                for fact in order.facts:
                    order = await self._apply_fact(order, fact)
            except StatusConflict:
                before, order = order, await self._read(order.id)
                if order.revision == before.revision:
                    raise
            else:
                return order

    async def _apply_fact(self, order: Order, fact: Fact) -> Order:
        handler = self._facts.get(type(fact))
        if handler is None:  # `RetryFrom`
            return order
        try:
            changed = await _in_time(lambda order: handler(order, fact), order, "facts", MAX_DEADLINE_S)
        except NoResponse as error:  # it must not fail the step
            raise ResolveLater(str(error), retry_after_s=FIRST_RETRY_S) from error
        if changed is None and order.status.has_ended:
            changed = order.revised()
        return order if changed is None else await self._orders.update(order, changed, applied=fact)

    async def _move(
        self, order: Order, to: OrderStatus, detail: str | None = None, reason: CancelReason | None = None
    ) -> None:
        try:
            await self._orders.transition(order, to, at=self._clock_ms(), detail=detail, reason=reason)
        except StatusConflict as conflict:
            if conflict.current == to:
                return
            if conflict.current == OrderStatus.CANCELLED:
                raise OrderCancelled from None
            raise

    async def _read(self, order_id: OrderId) -> Order:
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        return order


async def _in_time(act: Callable[[Order], Awaitable[_T]], order: Order, name: str, deadline_s: float) -> _T:
    try:
        async with asyncio.timeout(deadline_s):
            return await act(order)
    except (ResolveLater, ServiceNotReached):
        raise
    except (ServiceUnavailable, TimeoutError) as error:
        raise NoResponse(f"{name}: {type(error).__name__}") from error

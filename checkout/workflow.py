"""The order workflow: the sequence of steps, retries, and undoing the steps of a cancelled order."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import Declined, DependencyTripped, OrderNotFound, ServiceUnavailable, StatusConflict
from checkout.order import Order
from checkout.order_status import NEXT, OrderStatus
from checkout.ports.orders import Orders
from checkout.ports.services import Notifications, Payments, Shipping
from checkout.ports.stock import Stock
from checkout.steps.arrange_shipping import ArrangeShipping
from checkout.steps.authorise_payment import AuthorisePayment
from checkout.steps.capture_payment import CapturePayment
from checkout.steps.confirm_stock import ConfirmStock
from checkout.steps.notify import Notify
from checkout.steps.step import Step
from primitives.backoff import Backoff

_log = logging.getLogger(__name__)


def order_steps(*, stock: Stock, payments: Payments, shipping: Shipping, notifications: Notifications) -> list[Step]:
    """The steps of every order, in sequence. A new step is a file in `steps/` and a line here."""
    return [
        ConfirmStock(stock),
        AuthorisePayment(payments),
        ArrangeShipping(shipping),
        CapturePayment(payments),
        Notify(notifications),
    ]


class Workflow:
    """Completes or cancels orders, from their current status.

    The stored status of the order is the only record of its progress, and every step is idempotent. So a worker may die
    at any instruction, and two workers may run the same order at once.

    The transition to `cancelled` is stored before any step is undone. So no worker completes an order that another is
    undoing, and a worker that receives a cancelled order finishes undoing it.

    Each call of a step has `deadline_s`. A call that fails without being declined is repeated, `attempts` calls in all,
    after `backoff_s`, doubled each time and less a random half. An open breaker (`DependencyTripped`) says nothing about
    the order: `run` raises it at once, and the order keeps its status.

    Raises `ValueError` if the steps do not lead from `accepted` to `completed`.
    """

    def __init__(
        self,
        orders: Orders,
        steps: Sequence[Step],
        *,
        attempts: int = 3,
        deadline_s: float = 5.0,
        backoff_s: float = 0.2,
        clock_ms: Callable[[], int] = unix_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._orders = orders
        self._steps = list(steps)
        self._stages = _stages(steps)
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._backoff = Backoff(backoff_s, math.inf, chance=chance)
        self._clock_ms = clock_ms
        self._sleep = sleep

    async def run(self, order_id: OrderId) -> Order:
        """Complete or cancel the order, and return it; safe to repeat.

        Raises `OrderNotFound`, or the error for which the order can be neither completed nor cancelled now: run it again
        later.
        """
        order = await self._read(order_id)
        while not order.status.is_final:
            try:
                order = await self._advance(order)
            except StatusConflict:
                before, order = order, await self._read(order_id)
                if order.status is before.status:
                    raise
        await self._finish(order)
        return order

    async def _read(self, order_id: OrderId) -> Order:
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        return order

    async def _advance(self, order: Order) -> Order:
        """Move the order to its next status, or to `cancelled`."""
        detail = None
        for step in self._stages[order.status]:
            failure = await self._failure_of(step, order)
            if failure is None:
                continue
            _log.debug("order %s: step %s failed: %s", order.number, type(step).__name__, failure)
            if step.fails_as is not None:
                return await self._orders.transition(
                    order, OrderStatus.CANCELLED, at=self._clock_ms(), detail=failure, reason=step.fails_as
                )
            detail = f"without {type(step).__name__}: {failure}"
        return await self._orders.transition(order, NEXT[order.status], at=self._clock_ms(), detail=detail)

    async def _failure_of(self, step: Step, order: Order) -> str | None:
        """Apply the step; returns the reason if it failed for good, None if it succeeded."""
        try:
            await self._with_retries(step.apply, order)
        except Declined as declined:
            return declined.detail
        except (ServiceUnavailable, TimeoutError):
            if not step.timeout_is_failure:
                raise
            return "no response"
        return None

    async def _finish(self, order: Order) -> None:
        """Undo the steps of a cancelled order, last first; delete the records of a completed one."""
        if order.status is OrderStatus.COMPLETED:
            for step in self._steps:
                await self._with_retries(step.complete, order)
            return
        failures = []
        for step in reversed(self._started_steps(order)):
            try:
                await self._with_retries(step.undo, order)
            except Exception as error:  # noqa: BLE001 - the other steps are undone all the same
                failures.append(error)
        if failures:
            raise failures[0]

    def _started_steps(self, order: Order) -> list[Step]:
        """The steps that may have been applied, in full or in part, before the order was cancelled."""
        steps: list[Step] = []
        for reached in order.history[:-1]:
            steps.extend(self._stages[reached.status])
        return steps

    async def _with_retries(self, act: Callable[[Order], Awaitable[None]], order: Order) -> None:
        """Call until it succeeds, is declined or a breaker is open; raises the last failure after `attempts` calls."""
        for attempt in range(1, self._attempts + 1):
            try:
                async with asyncio.timeout(self._deadline_s):
                    await act(order)
            except (Declined, DependencyTripped):
                raise  # an immediate retry is pointless
            except Exception:
                if attempt == self._attempts:
                    raise
            else:
                return
            await self._sleep(self._backoff.delay_s(attempt))


def _stages(steps: Sequence[Step]) -> dict[OrderStatus, list[Step]]:
    """The steps that lead from each status to the next."""
    stages: dict[OrderStatus, list[Step]] = {}
    status, stage = OrderStatus.ACCEPTED, list[Step]()
    for step in steps:
        stage.append(step)
        if step.reaches is None:
            continue
        if step.reaches is not NEXT.get(status):
            raise ValueError(f"{type(step).__name__} leads to {step.reaches}, which does not follow {status}")
        stages[status] = stage
        status, stage = step.reaches, []
    if status is not OrderStatus.COMPLETED or stage:
        raise ValueError("the last step of a workflow leads to completed")
    return stages

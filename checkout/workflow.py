"""The way of an accepted order to its end: which steps, in which order, and what happens when one fails."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from cart.model import OrderId, unix_ms
from checkout.errors import Declined, DependencyTripped, OrderNotFound, ServiceUnavailable, StatusConflict
from checkout.order import NEXT, Order, OrderStatus
from checkout.ports.orders import Orders
from checkout.ports.services import Notifications, Payments, Shipping
from checkout.ports.stock import Stock
from checkout.steps.arrange_shipping import ArrangeShipping
from checkout.steps.authorise_payment import AuthorisePayment
from checkout.steps.capture_payment import CapturePayment
from checkout.steps.confirm_stock import ConfirmStock
from checkout.steps.notify import Notify
from checkout.steps.step import Step

_log = logging.getLogger(__name__)


def order_steps(*, stock: Stock, payments: Payments, shipping: Shipping, notifications: Notifications) -> list[Step]:
    """What happens to every order, in this order. A new step is one file in `steps/` and one line here."""
    return [
        ConfirmStock(stock),
        AuthorisePayment(payments),
        ArrangeShipping(shipping),
        CapturePayment(payments),
        Notify(notifications),
    ]


class Workflow:
    """Brings orders to their end, from wherever they stand.

    Nothing is remembered here: the order's stored status says what is done, and every step takes effect once however often
    it is applied. So a worker may be killed at any instruction, and two may even run the same order at once.

    The decision to cancel is stored before anything is undone. So nobody completes an order that another worker has
    begun to undo, and whoever meets the cancelled order again finishes undoing it.

    Each call of a step has `deadline_s`; one that fails without a final no is repeated, up to `attempts` in all, after
    `backoff_s` and then twice as long each time, of which a random half is left out.
    A service that is cut off (`DependencyTripped`) decides nothing about an order: `run` raises it at once, and the order
    stays where it stands.

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
        self._backoff_s = backoff_s
        self._clock_ms = clock_ms
        self._sleep = sleep
        self._chance = chance

    async def run(self, order_id: OrderId) -> Order:
        """Bring the order to its end, and return it; for one that is there already this repeats what has no effect.

        Raises `OrderNotFound`, and whatever kept the order from its end for now: run it again later.
        """
        order = await self._read(order_id)
        while not order.status.is_final:
            try:
                order = await self._advance(order)
            except StatusConflict:
                known, order = order, await self._read(order_id)
                if order.status is known.status:
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
            _log.info("order %s: %s failed: %s", order.number, type(step).__name__, failure)
            if step.fails_as is not None:
                return await self._orders.transition(
                    order, OrderStatus.CANCELLED, at=self._clock_ms(), detail=failure, reason=step.fails_as
                )
            detail = f"without {type(step).__name__}: {failure}"
        return await self._orders.transition(order, NEXT[order.status], at=self._clock_ms(), detail=detail)

    async def _failure_of(self, step: Step, order: Order) -> str | None:
        """Apply the step; tell why it failed for good, None if it is done."""
        try:
            await self._with_retries(step.apply, order)
        except Declined as declined:
            return declined.detail
        except (ServiceUnavailable, TimeoutError):
            if not step.timeout_is_failure:
                raise
            return "no answer"
        return None

    async def _finish(self, order: Order) -> None:
        """Undo a cancelled order's steps, last first; let a completed order's steps forget it."""
        if order.status is OrderStatus.COMPLETED:
            for step in self._steps:
                await self._with_retries(step.complete, order)
            return
        failures = []
        for step in reversed(self._begun(order)):
            try:
                await self._with_retries(step.undo, order)
            except Exception as error:  # noqa: BLE001  one step that cannot be undone now must not keep the others
                failures.append(error)
        if failures:
            raise failures[0]

    def _begun(self, order: Order) -> list[Step]:
        """The steps that may have been applied before the order was cancelled, in full or in part."""
        begun: list[Step] = []
        for reached in order.history[:-1]:
            begun.extend(self._stages[reached.status])
        return begun

    async def _with_retries(self, act: Callable[[Order], Awaitable[None]], order: Order) -> None:
        """Call until it succeeds, is declined or finds its service cut off; raise the last failure when the attempts are used up."""
        for attempt in range(1, self._attempts + 1):
            try:
                async with asyncio.timeout(self._deadline_s):
                    await act(order)
            except (Declined, DependencyTripped):
                raise  # asking again at once is pointless
            except Exception:
                if attempt == self._attempts:
                    raise
            else:
                return
            await self._sleep(self._backoff_s * 2 ** (attempt - 1) * (0.5 + self._chance() / 2))


def _stages(steps: Sequence[Step]) -> dict[OrderStatus, list[Step]]:
    """For each status, the steps that lead on to the next one."""
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

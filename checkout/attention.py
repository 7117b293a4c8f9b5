"""Orders that need a person: how many there are, and the acts of an operator."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from cart.currencies import money_text
from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.dispatch import Dispatch, try_dispatch
from checkout.errors import CancelTooLate, CannotRefund, OrderElsewhere, OrderNotFound, StatusConflict, UnknownWorkflow
from checkout.facts import RefundRequest, RetryFrom
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.orders import Orders
from checkout.ports.outbox import OutboxEntry
from checkout.ports.progress import Attention, Progress
from checkout.ports.queue import Backlog
from checkout.workflow.orders import TABLES
from checkout.workflow.table import WorkflowTable
from primitives.rounds import try_round

COUNT_S: Final = 10.0


class NotSetAside(Exception):
    """The order does not need attention."""


class OrdersNeedAttention(Exception):
    """Some orders or messages wait for a person; the text has their numbers."""


class AttentionWatch:
    """Counts the orders that need attention and the dead letters, every `interval_s`.

    While they cannot be counted, the counts before stay.
    """

    def __init__(
        self,
        progress: Progress,
        backlog: Backlog,
        *,
        interval_s: float = COUNT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.orders = 0
        self.dead_letters = 0
        self._progress = progress
        self._backlog = backlog
        self._interval_s = interval_s
        self._sleep = sleep

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await try_round("counting the orders that need attention", self.count)
            await self._sleep(self._interval_s)

    async def count(self) -> None:
        """Count once."""
        self.orders = await self._progress.count_needing_attention()
        self.dead_letters = await self._backlog.count_dead_letters() or 0

    async def check(self) -> None:
        """Raise `OrdersNeedAttention` if there are any; for readiness."""
        found = [_counted(self.orders, "order needs attention", "orders need attention")] if self.orders else []
        if self.dead_letters:
            found.append(_counted(self.dead_letters, "message is a dead letter", "messages are dead letters"))
        if found:
            raise OrdersNeedAttention(", ".join(found))


class OrderDesk:
    """The acts of an operator on orders. A worker carries them out when the message arrives, within seconds.

    `message` encodes the message to workers, and `dispatch` sends it on its way: an act does not fail with it. All acts
    raise `OrderElsewhere` for an order whose home is another Region.
    """

    def __init__(
        self,
        orders: Orders,
        progress: Progress,
        *,
        message: Callable[[Order], bytes],
        dispatch: Dispatch,
        tables: Mapping[int, WorkflowTable] = TABLES,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._tables = tables
        self._orders = orders
        self._progress = progress
        self._message = message
        self._dispatch = dispatch
        self._clock_ms = clock_ms

    async def needing_attention(self) -> Sequence[Attention]:
        """The orders that were set aside, the oldest first."""
        return await self._progress.needing_attention()

    async def retry(self, order_id: OrderId) -> None:
        """Return an order that was set aside to the workers. Raises `OrderNotFound` and `NotSetAside`."""
        order = await self._read(order_id)
        if not self._submit(await self._progress.resume(order_id, message=self._message(order.as_accepted()))):
            raise NotSetAside

    async def retry_from(self, order_id: OrderId, step: str) -> None:
        """Have the order run again from the step of this name on, whether or not it was set aside.

        Steps that its status says are done run again if they neither charge nor book; so the notification of a completed
        order is sent once more. A step that leads on from the order's status runs as it would anyway, with those before it.
        Raises `OrderNotFound`, `CannotRunAgain`, `UnknownWorkflow`, and the errors of `Orders.append_fact`.
        """
        order = await self._read(order_id)
        if order.workflow not in self._tables:
            raise UnknownWorkflow(order.workflow)
        self._tables[order.workflow].rows_to_repeat(order.status, step)
        # The same id until the order changes: a command that is given twice has one effect.
        fact = RetryFrom(f"retry:{step}:{order.revision}", self._clock_ms(), step)
        self._submit(await self._orders.append_fact(order_id, fact, message=self._message(order.as_accepted())))

    async def refund(
        self, order_id: OrderId, *, key: str, amount: int | None = None, detail: str | None = None
    ) -> bool:
        """Ask for a refund of `amount` minor units, or of all that is left; False if it was asked for with this `key` before.

        A worker applies it; the order's history then has it. `key` is up to 64 letters, digits and `._:-`; `detail` is
        text for people, without personal data. Raises `OrderNotFound`, `CannotRefund`, and the errors of `Orders.append_fact`.
        """
        if not _KEY.fullmatch(key):
            raise CannotRefund("the key must be 1 to 64 letters, digits and ._:-")
        order = await self._read(order_id)
        fact = RefundRequest(f"refund:{key}", self._clock_ms(), amount, detail)
        _check_refund(order, fact)
        return self._submit(await self._orders.append_fact(order_id, fact, message=self._message(order.as_accepted())))

    async def cancel(self, order_id: OrderId) -> None:
        """Cancel an order that is not completed: its payment is voided or refunded, and its stock returned.

        Raises `OrderNotFound`, and `CancelTooLate` if it is completed. What could not be undone of a cancelled order
        is tried again.
        """
        while True:  # at most once for each status, because statuses only advance
            order = await self._read(order_id)
            message = self._message(order.as_accepted())
            if order.status.has_ended and order.status is not OrderStatus.CANCELLED:
                raise CancelTooLate(order.status)
            if order.status is OrderStatus.CANCELLED:
                self._submit(await self._progress.resume(order_id, message=message))
                return
            try:
                _, entry = await self._orders.cancel(order, at=self._clock_ms(), message=message)
            except StatusConflict:
                continue
            self._submit(entry)
            return

    def _submit(self, entry: OutboxEntry | None) -> bool:
        """Dispatch the entry of an act; False if the act had no effect and made none."""
        if entry is None:
            return False
        try_dispatch(self._dispatch, entry)
        return True

    async def _read(self, order_id: OrderId) -> Order:
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        if order.home is not None:
            raise OrderElsewhere(order.home)
        return order


_KEY: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def _check_refund(order: Order, fact: RefundRequest) -> None:
    """Raise `CannotRefund` if the refund is certain to be none; the worker checks it against the payment."""
    if order.status is OrderStatus.CANCELLED:
        raise CannotRefund("the order is cancelled, and its payment voided or refunded")
    if not order.status.has_ended:
        raise CannotRefund(f"the order is {order.status} and not paid for yet: cancel it instead")
    if any(each.id == fact.id for each in order.facts):
        return
    asked = sum(each.amount or 0 for each in order.facts if isinstance(each, RefundRequest))
    left = order.total - order.refunded - asked
    if left <= 0:
        raise CannotRefund("all of it is refunded already")
    if fact.amount is not None and not 1 <= fact.amount <= left:
        least, most = (money_text(amount, order.currency) for amount in (1, left))
        raise CannotRefund(f"the amount must be {least} to {most}, which is left of the payment")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"

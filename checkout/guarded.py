"""Outside services behind guards: what fails is left alone for a while, and no order is declined for it.

Each call has a deadline of its own inside the guard: one from outside would cancel the call, and a cancellation tells a
guard nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from checkout.errors import Declined
from checkout.order import Order
from checkout.ports.queue import OrderSink, Outgoing
from checkout.ports.services import Guard, Payments, Shipping

# Shorter than the workflow's own for a step.
DEADLINE_S: Final = 4.0


def is_service_failure(error: Exception) -> bool:
    """Whether the service has failed: a final no is an answer."""
    return not isinstance(error, Declined)


class GuardedPayments:
    """A `Payments` that raises `DependencyTripped` besides, and `TimeoutError` after `deadline_s`."""

    def __init__(self, payments: Payments, guard: Guard, *, deadline_s: float = DEADLINE_S) -> None:
        self._payments = payments
        self._guard = guard
        self._deadline_s = deadline_s

    async def authorise(self, order: Order) -> None:
        """See `Payments.authorise`."""
        await _guarded(self._guard, self._deadline_s, lambda: self._payments.authorise(order))

    async def capture(self, order: Order) -> None:
        """See `Payments.capture`."""
        await _guarded(self._guard, self._deadline_s, lambda: self._payments.capture(order))

    async def void(self, order: Order) -> None:
        """See `Payments.void`."""
        await _guarded(self._guard, self._deadline_s, lambda: self._payments.void(order))


class GuardedShipping:
    """A `Shipping` that raises `DependencyTripped` besides, and `TimeoutError` after `deadline_s`."""

    def __init__(self, shipping: Shipping, guard: Guard, *, deadline_s: float = DEADLINE_S) -> None:
        self._shipping = shipping
        self._guard = guard
        self._deadline_s = deadline_s

    async def arrange(self, order: Order) -> None:
        """See `Shipping.arrange`."""
        await _guarded(self._guard, self._deadline_s, lambda: self._shipping.arrange(order))

    async def cancel(self, order: Order) -> None:
        """See `Shipping.cancel`."""
        await _guarded(self._guard, self._deadline_s, lambda: self._shipping.cancel(order))


class GuardedSink:
    """The sending end of a queue behind a guard; queues have deadlines of their own."""

    def __init__(self, queue: OrderSink, guard: Guard) -> None:
        self._queue = queue
        self._guard = guard

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderSink.send`."""
        return await self._guard.call(lambda: self._queue.send(messages))


async def _guarded(guard: Guard, deadline_s: float, act: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(deadline_s):
            await act()

    await guard.call(within_deadline)

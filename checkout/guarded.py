"""External services behind circuit breakers: an open breaker delays orders and declines none.

The deadline of each call is inside the guard: a deadline around the guard would cancel the call, and a cancelled call is
neither success nor failure to a breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from checkout.errors import Declined
from checkout.order import Order
from checkout.ports.queue import OrderSink, Outgoing
from checkout.ports.services import Guard, Payments, Shipping

# Shorter than the deadline of a workflow step.
DEADLINE_S: Final = 4.0


def is_service_failure(error: Exception) -> bool:
    """Whether the error counts as a failure of the service; a refusal of the order does not."""
    return not isinstance(error, Declined)


class GuardedPayments:
    """A `Payments` that also raises `DependencyTripped`, and `TimeoutError` after `deadline_s`."""

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
    """A `Shipping` that also raises `DependencyTripped`, and `TimeoutError` after `deadline_s`."""

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
    """The sending side of a queue behind a guard; queues have their own deadlines."""

    def __init__(self, queue: OrderSink, guard: Guard) -> None:
        self._queue = queue
        self._guard = guard

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderSink.send`."""
        return await self._guard.call(lambda: self._queue.send(messages))


async def _guarded(guard: Guard, deadline_s: float, act: Callable[[], Awaitable[None]]) -> None:
    await guard.call(lambda: _with_deadline(deadline_s, act))


async def _with_deadline(deadline_s: float, act: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(deadline_s):
        await act()

"""External services behind circuit breakers: an open breaker delays orders and declines none.

The deadline of each call is inside the guard: a deadline around the guard would cancel the call, and a cancelled call is
neither success nor failure to a breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from checkout.errors import Declined
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.ports.payments import PaymentProvider
from checkout.ports.queue import OrderSink, Outgoing
from checkout.ports.services import Guard, Shipping
from checkout.shipping.shipment import Shipment

_T = TypeVar("_T")

# Shorter than the deadline of a workflow step.
DEADLINE_S: Final = 4.0


def is_service_failure(error: Exception) -> bool:
    """Whether the error counts as a failure of the service; a refusal of the order does not."""
    return not isinstance(error, Declined)


class GuardedPayments:
    """A `PaymentProvider` that also raises `DependencyTripped`, and `TimeoutError` after `deadline_s`."""

    def __init__(self, provider: PaymentProvider, guard: Guard, *, deadline_s: float = DEADLINE_S) -> None:
        self.key_life_s = provider.key_life_s
        self.look_up_lag_s = provider.look_up_lag_s
        self._provider = provider
        self._guard = guard
        self._deadline_s = deadline_s

    async def authorise(self, order: Order, *, number: int, key: str) -> Payment:
        """See `PaymentProvider.authorise`."""
        return await self._call(lambda: self._provider.authorise(order, number=number, key=key))

    async def capture(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """See `PaymentProvider.capture`."""
        return await self._call(lambda: self._provider.capture(order, payment, key=key))

    async def void(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """See `PaymentProvider.void`."""
        return await self._call(lambda: self._provider.void(order, payment, key=key))

    async def close(self, order: Order, *, key: str) -> Payment | None:
        """See `PaymentProvider.close`."""
        return await self._call(lambda: self._provider.close(order, key=key))

    async def refund(self, order: Order, payment: Payment, amount: int, *, refund_id: str, key: str) -> Payment:
        """See `PaymentProvider.refund`."""
        return await self._call(lambda: self._provider.refund(order, payment, amount, refund_id=refund_id, key=key))

    async def look_up(self, order: Order, reference: str | None) -> Payment | None:
        """See `PaymentProvider.look_up`."""
        return await self._call(lambda: self._provider.look_up(order, reference))

    async def _call(self, act: Callable[[], Awaitable[_T]]) -> _T:
        return await _guarded(self._guard, self._deadline_s, act)


class GuardedShipping:
    """A `Shipping` that also raises `DependencyTripped`, and `TimeoutError` after `deadline_s`."""

    def __init__(self, shipping: Shipping, guard: Guard, *, deadline_s: float = DEADLINE_S) -> None:
        self._shipping = shipping
        self._guard = guard
        self._deadline_s = deadline_s

    async def arrange(self, order: Order) -> Shipment:
        """See `Shipping.arrange`."""
        return await _guarded(self._guard, self._deadline_s, lambda: self._shipping.arrange(order))

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


async def _guarded(guard: Guard, deadline_s: float, act: Callable[[], Awaitable[_T]]) -> _T:
    return await guard.call(lambda: _with_deadline(deadline_s, act))


async def _with_deadline(deadline_s: float, act: Callable[[], Awaitable[_T]]) -> _T:
    async with asyncio.timeout(deadline_s):
        return await act()

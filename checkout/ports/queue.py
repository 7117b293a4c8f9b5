"""The order queue: sending, receiving and acknowledging messages about orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from cart.model import OrderId


class Outgoing(msgspec.Struct, frozen=True):
    """A message for the queue about one order. Where the queue takes a message id, it is the order id."""

    order_id: OrderId
    body: bytes


class Delivery(msgspec.Struct, frozen=True):
    """A message that was received; `receipt` is the adapter's handle, `attempt` counts deliveries from 1."""

    body: bytes
    receipt: Any
    attempt: int


class OrderSink(Protocol):
    """The sending side of a queue. Raises `ServiceUnavailable`, and `DependencyTripped` while a breaker is open."""

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """Send up to 10 messages; returns for each whether the queue has it."""
        ...


class OrderQueue(OrderSink, Protocol):
    """A queue that delivers at least once.

    A delivery that is not acknowledged in time is delivered again, a limited number of times, and dead-lettered then.
    All calls raise `ServiceUnavailable` when the queue cannot be reached.
    """

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """Up to `limit` (at most 10) deliveries as soon as there is one; none after `wait_s` seconds."""
        ...

    async def interrupt(self) -> None:
        """Make a `receive` that waits return now, where the queue supports it; loses no delivery."""
        ...

    async def extend(self, delivery: Delivery, seconds: float) -> None:
        """Hide the delivery from other workers for so long from now."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Remove these from the queue."""
        ...

    async def release(self, delivery: Delivery, delay_s: float, *, reason: str) -> bool:
        """Deliver again after `delay_s`, or sooner where the queue supports no such delay.

        At its last attempt the delivery is dead-lettered instead, with `reason` where the queue can store it. Returns
        whether it was.
        """
        ...

    async def defer(self, delivery: Delivery, delay_s: float) -> None:
        """Deliver again after `delay_s` without counting this attempt, so that it is never dead-lettered for it."""
        ...


class Backlog(Protocol):
    """How far the workers of an order queue are behind."""

    async def oldest_age_s(self) -> float | None:
        """The age of the oldest message that is not acknowledged; None if there is none or it is not known.

        Raises `ServiceUnavailable`.
        """
        ...

"""The order queue: sending, receiving and acknowledging messages about orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from cart.model import OrderId


class Outgoing(msgspec.Struct, frozen=True):
    """A message for the queue about one order.

    `message_id` is the same each time that this message is sent, and differs from that of other messages about the order,
    such as that of its cancellation. Where the queue drops duplicates, it goes by this id.

    `trace` has the fields of W3C Trace Context that the body has, `traceparent` and `tracestate`. A queue whose messages have
    attributes sends them as such too, for consumers that look there.

    Messages of one `group` that has a long backlog do not delay those of other groups, where the queue supports it; "" has
    no group.
    """

    order_id: OrderId
    body: bytes
    message_id: str
    group: str = ""
    trace: Mapping[str, str] = msgspec.field(default_factory=dict)


class Delivery(msgspec.Struct, frozen=True):
    """A message that was received; `receipt` is the adapter's handle, `attempt` counts deliveries from 1.

    `trace` is that of its attributes, where the queue has such.
    """

    body: bytes
    receipt: Any
    attempt: int
    trace: Mapping[str, str] = msgspec.field(default_factory=dict)


class OrderSink(Protocol):
    """The sending side of a queue. Raises `ServiceUnavailable`, and `DependencyTripped` while a breaker is open."""

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """Send up to 10 messages, or as many as the queue takes at a time; returns for each whether the queue has it."""
        ...


class OrderQueue(OrderSink, Protocol):
    """A queue that delivers at least once.

    A delivery that is not acknowledged in time is delivered again. No number of deliveries ends a message: workers die and
    wait for services, and whether an order is given up is decided by its own failures. All calls raise `ServiceUnavailable` when the queue cannot be reached.
    """

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """Up to `limit` (at most 10) deliveries as soon as there is one; none after `wait_s` seconds."""
        ...

    async def interrupt(self) -> None:
        """Make a `receive` that waits return now, where the queue supports it; loses no delivery."""
        ...

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Hide these deliveries from other workers for so long from now; those that are no longer held stay as they are."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Remove these from the queue."""
        ...

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        """Deliver again after `delay_s`, or sooner where the queue supports no such delay; as often as it takes."""
        ...

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        """Move the message to the dead letters, with the reason.

        Raises `ServiceUnavailable` too if the queue has no place for dead letters.
        """
        ...


class Backlog(Protocol):
    """How far the workers of an order queue are behind, and what they could not process."""

    async def oldest_age_s(self) -> float | None:
        """The age of the oldest message that is not acknowledged; None if there is none or it is not known.

        Raises `ServiceUnavailable`.
        """
        ...

    async def count_dead_letters(self) -> int | None:
        """The number of dead letters; None if it is not known. Raises `ServiceUnavailable`."""
        ...


class QueueGauge(Backlog, Protocol):
    """How much waits in an order queue, for metrics."""

    async def count_messages(self) -> int | None:
        """The number of messages that are not acknowledged; None if it is not known. Raises `ServiceUnavailable`."""
        ...

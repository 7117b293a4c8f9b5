"""Webhooks in memory, for tests and for runs in virtual time; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from cart.ids import partition_of
from cart.model import OrderId
from checkout.ports.webhooks import (
    Attempt,
    Delivery,
    EndpointState,
    FailurePolicy,
    Message,
    StopReason,
    Waiting,
)

LOG_LINES: Final = 10_000


@dataclass
class _Queue:
    """The waiting messages of an order."""

    due_ms: float
    numbers: list[int]
    attempts: int = 0


@dataclass
class _Endpoint:
    queues: dict[OrderId, _Queue] = field(default_factory=dict)
    # The number of the last event of each order that was handed over.
    handed_over: dict[OrderId, int] = field(default_factory=dict)
    failures: int = 0
    failed_order: OrderId | None = None
    failing_since_ms: float | None = None
    last_failure_ms: float = 0.0
    probe_at_ms: float | None = None
    paused_until_ms: float = 0.0
    disabled: StopReason | None = None
    disabled_at: int = 0
    log: deque[Attempt] = field(default_factory=lambda: deque(maxlen=LOG_LINES))


class MemoryWebhooks:
    """`WebhookStore` in dicts; `clock_ms` gives Unix milliseconds. No call awaits, so each is one atomic change."""

    def __init__(self, *, clock_ms: Callable[[], float]) -> None:
        self._clock_ms = clock_ms
        self._endpoints: dict[str, _Endpoint] = {}
        self._leases = itertools.count(1)
        self._leased: dict[tuple[str, OrderId], str] = {}

    async def add(self, messages: Sequence[Message]) -> None:
        """See `WebhookStore.add`."""
        for message in messages:
            queues = self._of(message.endpoint).queues
            queue = queues.setdefault(message.order_id, _Queue(self._clock_ms(), []))
            queue.numbers = sorted({*queue.numbers, message.number})

    async def hand_over(self, messages: Sequence[Message]) -> None:
        """See `WebhookStore.hand_over`. The numbers of orders stay for as long as this object."""
        for message in messages:
            last = self._of(message.endpoint).handed_over
            if message.number > last.get(message.order_id, 0):
                last[message.order_id] = message.number
                await self.add([message])

    async def due(self, endpoint: str, partition: str, *, lease_s: float) -> Delivery | None:
        """See `WebhookStore.due`."""
        return self._first_due(endpoint, lease_s, lambda order_id: partition_of(order_id) == partition)

    async def oldest(self, endpoint: str, *, lease_s: float) -> Delivery | None:
        """See `WebhookStore.oldest`."""
        return self._first_due(endpoint, lease_s, lambda _order_id: True)

    def _first_due(self, endpoint: str, lease_s: float, is_asked: Callable[[OrderId], bool]) -> Delivery | None:
        now = self._clock_ms()
        due = [
            (queue.due_ms, order_id)
            for order_id, queue in self._of(endpoint).queues.items()
            if queue.due_ms <= now and is_asked(order_id)
        ]
        return self._lease(endpoint, min(due)[1], lease_s) if due else None

    async def finish(self, delivery: Delivery) -> bool:
        """See `WebhookStore.finish`."""
        message = delivery.message
        queue = self._leased_queue(delivery)
        if queue is None:
            return False
        queue.numbers = [number for number in queue.numbers if number != message.number]
        queue.attempts, queue.due_ms = 0, self._clock_ms()
        if not queue.numbers:
            del self._of(message.endpoint).queues[message.order_id]
        return True

    async def delay(self, delivery: Delivery, delay_s: float, *, is_attempt: bool = True) -> bool:
        """See `WebhookStore.delay`."""
        queue = self._leased_queue(delivery)
        if queue is None:
            return False
        queue.due_ms = self._clock_ms() + delay_s * 1000
        queue.attempts += is_attempt
        return True

    async def waiting(self, endpoint: str) -> Waiting:
        """See `WebhookStore.waiting`."""
        now, queues = self._clock_ms(), self._of(endpoint).queues
        due = {order_id: now - queue.due_ms for order_id, queue in queues.items() if queue.due_ms <= now}
        return Waiting(len(queues), {partition_of(each) for each in due}, max(due.values(), default=0.0) / 1000)

    async def leads(self) -> bool:
        """See `WebhookStore.leads`."""
        return True

    async def state(self, endpoint: str) -> EndpointState:
        """See `WebhookStore.state`."""
        now, each = self._clock_ms(), self._of(endpoint)
        return EndpointState(
            is_down=each.probe_at_ms is not None,
            failing_s=None if each.failing_since_ms is None else (now - each.failing_since_ms) / 1000,
            paused_s=max(each.paused_until_ms - now, 0) / 1000,
            disabled=each.disabled,
            disabled_at=each.disabled_at,
        )

    async def succeeded(self, endpoint: str) -> None:
        """See `WebhookStore.succeeded`."""
        each = self._of(endpoint)
        each.failures, each.failed_order, each.failing_since_ms, each.probe_at_ms = 0, None, None, None

    async def failed(
        self, message: Message, policy: FailurePolicy, *, pause_s: float = 0.0, is_gone: bool = False
    ) -> StopReason | None:
        """See `WebhookStore.failed`."""
        now, each = self._clock_ms(), self._of(message.endpoint)
        if each.failing_since_ms is None or now - each.last_failure_ms > policy.break_s * 1000:
            each.failing_since_ms = now
        each.last_failure_ms = now
        each.failures += message.order_id != each.failed_order
        each.failed_order = message.order_id
        if each.failures >= policy.down_after and each.probe_at_ms is None:
            each.probe_at_ms = now + policy.probe_s * 1000
        each.paused_until_ms = max(each.paused_until_ms, now + pause_s * 1000)
        if each.disabled is not None:
            return None
        if is_gone:
            each.disabled = "gone"
        elif now - each.failing_since_ms >= policy.disable_s * 1000:
            each.disabled = "failing"
        each.disabled_at = round(now) if each.disabled else 0
        return each.disabled

    async def may_probe(self, endpoint: str, policy: FailurePolicy) -> bool:
        """See `WebhookStore.may_probe`."""
        now, each = self._clock_ms(), self._of(endpoint)
        if each.probe_at_ms is None or each.disabled or now < max(each.probe_at_ms, each.paused_until_ms):
            return False
        each.probe_at_ms = now + policy.probe_s * 1000
        return True

    async def disable(self, endpoint: str) -> None:
        """See `WebhookStore.disable`."""
        self._of(endpoint).disabled, self._of(endpoint).disabled_at = "stopped", round(self._clock_ms())

    async def enable(self, endpoint: str) -> None:
        """See `WebhookStore.enable`."""
        await self.succeeded(endpoint)
        each = self._of(endpoint)
        each.disabled, each.disabled_at, each.paused_until_ms = None, 0, 0.0

    async def record(self, attempt: Attempt) -> None:
        """See `WebhookStore.record`."""
        log = self._of(attempt.message.endpoint).log
        log.append(msgspec.structs.replace(attempt, at=round(self._clock_ms())))

    async def attempts(self, endpoint: str, *, limit: int, since_ms: int = 0) -> Sequence[Attempt]:
        """See `WebhookStore.attempts`."""
        return [line for line in reversed(self._of(endpoint).log) if line.at >= since_ms][:limit]

    def _of(self, endpoint: str) -> _Endpoint:
        return self._endpoints.setdefault(endpoint, _Endpoint())

    def _lease(self, endpoint: str, order_id: OrderId, lease_s: float) -> Delivery:
        queue = self._of(endpoint).queues[order_id]
        queue.due_ms = self._clock_ms() + lease_s * 1000
        lease = self._leased[endpoint, order_id] = str(next(self._leases))
        return Delivery(Message(endpoint, order_id, queue.numbers[0]), queue.attempts, lease)

    def _leased_queue(self, delivery: Delivery) -> _Queue | None:
        message = delivery.message
        if self._leased.get((message.endpoint, message.order_id)) != delivery.lease:
            return None
        del self._leased[message.endpoint, message.order_id]
        return self._of(message.endpoint).queues.get(message.order_id)

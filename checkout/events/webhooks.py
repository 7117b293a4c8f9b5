"""Webhooks: the events of orders as Standard Webhooks (standardwebhooks.com) to the endpoints of a configuration.

The messages that wait are in the store, one queue for each order and endpoint. So the messages of an order are delivered
one after the other, and survive the death of every process. A message is built and signed when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cart.ids import partition_of
from cart.model import OrderId
from cart.timestamps import rfc3339
from checkout.events.event_message import event_id, event_type, order_event
from checkout.events.webhook_schedule import MAX_RETRY_AFTER_S, next_delay_s
from checkout.message import SOURCE
from checkout.order import Order
from checkout.ports.events import NewEvent
from checkout.ports.webhooks import (
    Attempt,
    Delivery,
    EndpointState,
    FailurePolicy,
    Message,
    Outcome,
    SendResult,
    StopReason,
    Waiting,
    WebhookSender,
    WebhookStore,
)
from primitives.outages import is_outage, level_of
from primitives.rounds import try_round
from primitives.webhook_signature import WebhookSigner

_log = logging.getLogger(__name__)

ENDPOINT_DISABLED: Final = "shop.webhook.disabled.v1"
# Messages that one process sends to one endpoint at a time.
CONCURRENCY: Final = 8
# Longer than the timeout of any attempt. The message of a killed process is sent again after it.
LEASE_S: Final = 60.0
SWEEP_S: Final = 2.0
_GONE: Final = 410
# The subject of an event about an endpoint, in place of an order id; the partition is that of every such event.
_ENDPOINT_SUBJECT: Final = "00endpoint:"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of the configuration. Without `types` it is sent all events of orders."""

    name: str
    url: str
    signer: WebhookSigner
    types: frozenset[str] = frozenset()
    timeout_s: float = 15.0
    allow_private: bool = False

    def takes(self, kind: str) -> bool:
        """Whether it is sent events of this type."""
        return kind in self.types if self.types else kind != ENDPOINT_DISABLED


class OrderReader(Protocol):
    """Reads orders; see `Orders`."""

    async def read(self, order_id: OrderId) -> Order | None:
        """The order, None if there is none."""
        ...


class Webhooks:
    """Delivers messages, and is the `EventSink` that adds them.

    `run` delivers: this process sends the messages that it has added at once, and one process at a time looks for those
    that are due, and probes the endpoints that are down. `attempts` counts the attempts of this process by endpoint and
    outcome, `waiting` was found by the last look of this process.
    """

    def __init__(
        self,
        store: WebhookStore,
        orders: OrderReader,
        sender: WebhookSender,
        *,
        policy: FailurePolicy | None = None,
        is_outage: Callable[[Exception], bool] = is_outage,
        user_agent: str = "Peakgate-Webhooks",
        concurrency: int = CONCURRENCY,
        lease_s: float = LEASE_S,
        sweep_s: float = SWEEP_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.attempts: Counter[tuple[str, Outcome]] = Counter()
        self.waiting: Mapping[str, Waiting] = {}
        self.disabled: Mapping[str, StopReason | None] = {}
        self.endpoints: Mapping[str, Endpoint] = {}
        self._store = store
        self._orders = orders
        self._sender = sender
        self._policy = policy or FailurePolicy()
        self._is_outage = is_outage
        self._user_agent = user_agent
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._sweep_s = sweep_s
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        # Partitions with new or due messages by endpoint; dicts as ordered sets.
        self._noticed: dict[str, dict[str, None]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._has_work = asyncio.Event()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Deliver to these endpoints from now on."""
        self.endpoints = {each.name: each for each in endpoints}

    # The sink

    async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
        """See `EventSink.take`."""
        messages: list[Message] = []
        states = {name: await self._store.state(name) for name in self.endpoints}
        for name, endpoint in self.endpoints.items():
            wanted = [
                Message(name, event.order.id, event.number)
                for event in events
                if endpoint.takes(event_type(event.order, event.number))
            ]
            if states[name].disabled is None:
                messages += wanted
            else:
                # They can be delivered later, by an operator's command.
                for message in wanted:
                    await self._record(Attempt(message=message, outcome="skipped"))
        await self._store.hand_over(messages)
        self._notice_all(messages)
        return ()

    async def add(self, messages: Sequence[Message]) -> None:
        """Add messages, and deliver them soon."""
        await self._store.add(messages)
        self._notice_all(messages)

    def _notice_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._notice(message.endpoint, partition_of(message.order_id))

    # Delivery

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep_forever())
                tasks.create_task(self._deliver_forever(tasks))
        finally:
            self._working.clear()

    async def sweep(self) -> None:
        """Notice the messages that are due, and probe the endpoints that are down."""
        if not self.endpoints or not await self._store.leads():
            self.waiting = {}
            return
        waiting, disabled = {}, {}
        for name, endpoint in tuple(self.endpoints.items()):
            state = await self._store.state(name)
            waiting[name], disabled[name] = await self._store.waiting(name), state.disabled
            if state.is_open:
                for partition in waiting[name].due:
                    self._notice(name, partition)
            elif await self._store.may_probe(name, self._policy):
                await self._probe(endpoint, state)
        self.waiting, self.disabled = waiting, disabled

    async def deliver(self, name: str) -> None:
        """Deliver the messages of the noticed partitions to an endpoint, until none is due or it is down."""
        await asyncio.gather(*(self._deliver_some(name) for _ in range(self._concurrency)))

    async def _deliver_some(self, name: str) -> None:
        noticed = self._noticed.setdefault(name, {})
        while noticed:
            # The first that was noticed, so that none waits for ever.
            partition = next(iter(noticed))
            del noticed[partition]
            while (endpoint := self.endpoints.get(name)) is not None:
                state = await self._store.state(name)
                # The sweep notices due messages when it is open again.
                delivery = await self._store.due(name, partition, lease_s=self._lease_s) if state.is_open else None
                if delivery is None:
                    break
                await self._attempt(endpoint, delivery, state)

    def _notice(self, endpoint: str, partition: str) -> None:
        self._noticed.setdefault(endpoint, {})[partition] = None
        self._has_work.set()

    async def _sweep_forever(self) -> None:
        while True:
            await try_round("looking for webhooks that are due", self.sweep)
            await self._sleep(self._sweep_s * (0.5 + self._chance()))

    async def _deliver_forever(self, tasks: asyncio.TaskGroup) -> None:
        """One task for each endpoint with work, so that none waits for another."""
        while True:
            self._has_work.clear()
            for name, partitions in tuple(self._noticed.items()):
                if partitions and name not in self._working:
                    self._working[name] = tasks.create_task(self._deliver_one(name))
            await self._has_work.wait()

    async def _deliver_one(self, name: str) -> None:
        try:
            await try_round(f"delivering webhooks to {name}", lambda: self.deliver(name))
        finally:
            del self._working[name]
        if self._noticed.get(name):
            self._has_work.set()

    async def _probe(self, endpoint: Endpoint, state: EndpointState) -> None:
        """Send the message that has been due for longest; a failure is none of its attempts."""
        delivery = await self._store.oldest(endpoint.name, lease_s=self._lease_s)
        if delivery is not None:
            await self._attempt(endpoint, delivery, state, is_probe=True)

    async def _attempt(
        self, endpoint: Endpoint, delivery: Delivery, state: EndpointState, *, is_probe: bool = False
    ) -> None:
        message = delivery.message
        number = delivery.attempts + 1
        try:
            built = await self._build(message)
        except Exception as error:
            if self._is_outage(error):
                raise
            await self._give_way(delivery, type(error).__name__)
            return
        if built is None:
            await self._store.finish(delivery)
            await self._record(Attempt(message=message, outcome="dropped", attempt=number))
            return
        webhook_id, body = built
        started = self._clock()
        result = await self._send(endpoint, webhook_id, body)
        outcome = await self._settle(delivery, result, state, is_probe=is_probe)
        await self._record(
            Attempt(
                message=message,
                outcome=outcome,
                attempt=number,
                status=result.status,
                error=result.error,
                took_ms=round((self._clock() - started) * 1000),
            )
        )

    async def _give_way(self, delivery: Delivery, error: str) -> None:
        """The order cannot be read: its message waits as one that failed, and the endpoint is not to blame."""
        number = delivery.attempts + 1
        delay_s = next_delay_s(number, chance=self._chance())
        if delay_s is None:
            await self._store.finish(delivery)
        else:
            await self._store.delay(delivery, delay_s)
        outcome: Outcome = "exhausted" if delay_s is None else "failed"
        text = f"the order cannot be read ({error})"
        await self._record(Attempt(message=delivery.message, outcome=outcome, attempt=number, error=text))

    async def _send(self, endpoint: Endpoint, webhook_id: str, body: bytes) -> SendResult:
        headers = {
            "Content-Type": "application/cloudevents+json",
            "User-Agent": self._user_agent,
            **endpoint.signer.headers(webhook_id, body),
        }
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                return await self._sender.send(endpoint.url, headers, body, allow_private=endpoint.allow_private)
        except TimeoutError:
            return SendResult(error=f"no answer within {endpoint.timeout_s:g} s")

    async def _settle(self, delivery: Delivery, result: SendResult, state: EndpointState, *, is_probe: bool) -> Outcome:
        """Store the end of an attempt: first that of the message, then that of the endpoint.

        `state` is that of the endpoint before the attempt.
        """
        if result.is_delivered:
            await self._store.finish(delivery)
            await self._succeeded(delivery.message.endpoint, state)
            return "delivered"
        is_gone = result.status == _GONE
        outcome: Outcome = "gone" if is_gone else "failed"
        delay_s = next_delay_s(delivery.attempts + 1, chance=self._chance(), retry_after_s=result.retry_after_s)
        if is_probe or is_gone:
            await self._store.delay(delivery, 0.0, is_attempt=False)
        elif delay_s is None:
            await self._store.finish(delivery)
            outcome = "exhausted"
        else:
            await self._store.delay(delivery, delay_s)
        await self._failed(delivery.message, result, is_gone=is_gone)
        return outcome

    async def _succeeded(self, name: str, before: EndpointState) -> None:
        if before.failing_s is None:
            return
        await self._store.succeeded(name)
        if before.is_down:
            _log.info("the webhook endpoint %s accepts messages again, after %d s", name, before.failing_s)
            for partition in (await self._store.waiting(name)).due:
                self._notice(name, partition)

    async def _failed(self, message: Message, result: SendResult, *, is_gone: bool) -> None:
        pause_s = min(result.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        reason = await self._store.failed(message, self._policy, pause_s=pause_s, is_gone=is_gone)
        if reason is None:
            return
        _log.error(
            "the webhook endpoint %s is disabled: %s; enable it with `peakgate webhooks enable %s` when it works again",
            message.endpoint,
            "it answered 410" if is_gone else f"it has failed for {self._policy.disable_s / 86_400:g} days",
            message.endpoint,
        )
        about = OrderId(f"{_ENDPOINT_SUBJECT}{message.endpoint}")
        others = [each for each in self.endpoints.values() if each.takes(ENDPOINT_DISABLED)]
        await self.add([Message(each.name, about, 1) for each in others if each.name != message.endpoint])

    async def _build(self, message: Message) -> tuple[str, bytes] | None:
        """The id and the body of a message; None if its order is not there any more."""
        if message.order_id.startswith(_ENDPOINT_SUBJECT):
            return await self._build_disabled(message.order_id.removeprefix(_ENDPOINT_SUBJECT))
        order = await self._orders.read(message.order_id)
        if order is None or message.number > len(order.history):
            return None
        return event_id(order, message.number), order_event(order, message.number)

    async def _build_disabled(self, name: str) -> tuple[str, bytes] | None:
        """The event of a disabled endpoint; None if it is enabled again."""
        state = await self._store.state(name)
        if state.disabled is None:
            return None
        webhook_id = f"endpoint-{name}-{state.disabled_at}"
        event = {
            "specversion": "1.0",
            "id": webhook_id,
            "source": SOURCE,
            "type": ENDPOINT_DISABLED,
            "time": rfc3339(state.disabled_at),
            "datacontenttype": "application/json",
            "data": {"endpoint": name, "reason": state.disabled},
        }
        return webhook_id, msgspec.json.encode(event)

    async def _record(self, attempt: Attempt) -> None:
        """Count and log an attempt; the log is not worth a failure."""
        self.attempts[attempt.message.endpoint, attempt.outcome] += 1
        try:
            await self._store.record(attempt)
        except Exception as error:  # noqa: BLE001 - the message is delivered or delayed already
            _log.log(level_of(error), "an attempt is missing in the delivery log: %s", type(error).__name__)

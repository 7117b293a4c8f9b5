"""Webhooks: the deliveries that wait for each endpoint, the endpoint's state, and a log of the attempts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from cart.model import OrderId

StopReason = Literal["failing", "gone", "stopped"]
"""Why an endpoint is disabled: it failed for days, it answered 410, or an operator stopped it."""

Outcome = Literal["delivered", "failed", "exhausted", "gone", "dropped", "skipped"]
"""The end of an attempt: `failed` is tried again, `exhausted` is not; `dropped` has no order any more; `skipped` was not
tried, because the endpoint was disabled."""


class Message(msgspec.Struct, frozen=True):
    """Event `number` of an order, for one endpoint."""

    endpoint: str
    order_id: OrderId
    number: int


class Delivery(msgspec.Struct, frozen=True):
    """A message that this process alone may send until its lease ends. `attempts` were made before."""

    message: Message
    attempts: int
    lease: str


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its answers have left it. Durations are in seconds, by the clock of the store.

    `is_down`: different orders have failed in a row. Then there is a probe now and again, and nothing else is sent; the
    same for `paused_s`, as the endpoint asked with `Retry-After`. `disabled_at` is Unix milliseconds.
    """

    is_down: bool = False
    failing_s: float | None = None
    paused_s: float = 0.0
    disabled: StopReason | None = None
    disabled_at: int = 0

    @property
    def is_open(self) -> bool:
        """Whether messages are sent to it."""
        return not self.is_down and self.disabled is None and not self.paused_s


class Waiting(msgspec.Struct, frozen=True):
    """The messages that wait for an endpoint.

    `due` are the partitions with a message that is due; the first has been due for `oldest_due_s` seconds.
    """

    orders: int
    due: Collection[str]
    oldest_due_s: float


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the delivery log. `at` is Unix milliseconds by the clock of the store; `status` is that of HTTP.

    `error` is a text of ours, without anything that the endpoint has sent.
    """

    message: Message
    outcome: Outcome
    attempt: int = 0
    status: int | None = None
    error: str | None = None
    took_ms: int = 0
    at: int = 0


class FailurePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is down, how often it is probed then, and when it is disabled. Times are in seconds.

    It has failed without a break as long as no more than `break_s` lie between two failures: the longest pause between
    the attempts of one message is shorter.
    """

    down_after: int = 3
    probe_s: float = 60.0
    disable_s: float = 5 * 86_400.0
    break_s: float = 86_400.0


class WebhookStore(Protocol):
    """The webhooks of all processes. All methods raise the errors of the store.

    Messages of one order to one endpoint are delivered one after the other, by their numbers.
    """

    async def add(self, messages: Sequence[Message]) -> None:
        """Add messages that are due at once, unless they wait already; those that were delivered are delivered again."""
        ...

    async def hand_over(self, messages: Sequence[Message]) -> None:
        """Add events of orders, each once: one that is not later than the last that was handed over is passed over.

        A relay that repeats its events so adds none behind a later one. They come in the order of their numbers. The number
        of the last one is part of the order in the store, and is deleted with it.
        """
        ...

    async def due(self, endpoint: str, partition: str, *, lease_s: float) -> Delivery | None:
        """Lease the message of the partition that has been due for longest; None if none is due."""
        ...

    async def oldest(self, endpoint: str, *, lease_s: float) -> Delivery | None:
        """Lease the message that has been due for longest, of all partitions."""
        ...

    async def finish(self, delivery: Delivery) -> bool:
        """Remove a message, so that the next one of its order is due; False if its lease had ended."""
        ...

    async def delay(self, delivery: Delivery, delay_s: float, *, is_attempt: bool = True) -> bool:
        """Let a message be due in `delay_s` seconds; `is_attempt` counts it. False if its lease had ended."""
        ...

    async def waiting(self, endpoint: str) -> Waiting:
        """The messages that wait for the endpoint."""
        ...

    async def leads(self) -> bool:
        """Whether this process is the one that looks for due messages; true for one process at a time."""
        ...

    async def state(self, endpoint: str) -> EndpointState:
        """The state of the endpoint."""
        ...

    async def succeeded(self, endpoint: str) -> None:
        """The endpoint has accepted a message: it is neither down nor failing. A pause that it asked for goes on."""
        ...

    async def failed(
        self, message: Message, policy: FailurePolicy, *, pause_s: float = 0.0, is_gone: bool = False
    ) -> StopReason | None:
        """The endpoint has failed; returns the reason if that has disabled it. `pause_s`: it wants no request before."""
        ...

    async def may_probe(self, endpoint: str, policy: FailurePolicy) -> bool:
        """Whether the endpoint is down and a probe is due; true once in each `policy.probe_s`."""
        ...

    async def disable(self, endpoint: str) -> None:
        """Stop the endpoint, as an operator."""
        ...

    async def enable(self, endpoint: str) -> None:
        """Send to the endpoint again, with a clean state."""
        ...

    async def record(self, attempt: Attempt) -> None:
        """Append to the delivery log of the endpoint, which keeps the latest lines."""
        ...

    async def attempts(self, endpoint: str, *, limit: int, since_ms: int = 0) -> Sequence[Attempt]:
        """The lines of the log since a time, the latest first."""
        ...


class SendResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an endpoint: a status, or none and the failure in a few words of ours."""

    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None

    @property
    def is_delivered(self) -> bool:
        """Any 2xx; the receiver has the message then."""
        return self.status is not None and 200 <= self.status < 300


class WebhookSender(Protocol):
    """Sends one request."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:
        """POST the body. Failures of the endpoint or the network are results, not errors.

        Addresses that are not public are refused unless `allow_private`. Redirects are not followed.
        """
        ...

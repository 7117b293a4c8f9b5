"""Webhooks in Redis or Valkey: messages lie beside their orders, by partition; state and log are one key an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, cast

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
from checkout.stored import (
    ALL_PARTITIONS,
    handed_over_field,
    order_key,
    webhook_due_key,
    webhook_log_key,
    webhook_queue_key,
    webhook_state_key,
)
from store import Lease, Script, Store


def _script(name: str) -> Script:
    return Script.from_package("checkout.redis", f"scripts/webhook_{name}.lua")


ADD: Final = _script("add")
TAKE: Final = _script("take")
FINISH: Final = _script("finish")
FAILED: Final = _script("failed")
PROBE: Final = _script("probe")

LEASE_KEY: Final = "webhooks:sweeper"
# Longer than the interval of the sweep.
LEASE_MS: Final = 5_000
LOG_LINES: Final = 10_000
# Messages for an endpoint that is configured no more are forgotten this long after the last one.
LIFE_MS: Final = 15 * 86_400_000


class RedisWebhooks:
    """`WebhookStore` on a store."""

    def __init__(self, store: Store, *, lease_ms: int = LEASE_MS, log_lines: int = LOG_LINES) -> None:
        self._store = store
        self._log_lines = log_lines
        self._sweep_lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    # Messages

    async def add(self, messages: Sequence[Message]) -> None:
        """See `WebhookStore.add`."""
        await self._add(messages, is_handed_over=False)

    async def hand_over(self, messages: Sequence[Message]) -> None:
        """See `WebhookStore.hand_over`."""
        await self._add(messages, is_handed_over=True)

    async def _add(self, messages: Sequence[Message], *, is_handed_over: bool) -> None:
        by_key: dict[tuple[str, str], list[Message]] = {}
        for each in messages:
            by_key.setdefault((each.endpoint, partition_of(each.order_id)), []).append(each)
        calls = []
        for (endpoint, partition), added in by_key.items():
            orders = [order_key(each.order_id) for each in added] if is_handed_over else []
            args: list[str | int] = [LIFE_MS, handed_over_field(endpoint)]
            for each in added:
                args += (each.order_id, each.number)
            calls.append(self._store.run(ADD, [*_keys(endpoint, partition), *orders], args))
        await asyncio.gather(*calls)

    async def due(self, endpoint: str, partition: str, *, lease_s: float) -> Delivery | None:
        """See `WebhookStore.due`."""
        reply = await self._store.run(TAKE, _keys(endpoint, partition), [_ms(lease_s)])
        return None if reply is None else _delivery(endpoint, *reply)

    async def oldest(self, endpoint: str, *, lease_s: float) -> Delivery | None:
        """See `WebhookStore.oldest`."""
        heads = await self._heads(endpoint)
        if not heads:
            return None
        return await self.due(endpoint, min(heads, key=lambda partition: heads[partition]), lease_s=lease_s)

    async def finish(self, delivery: Delivery) -> bool:
        """See `WebhookStore.finish`."""
        return await self._finish(delivery, "", 0)

    async def delay(self, delivery: Delivery, delay_s: float, *, is_attempt: bool = True) -> bool:
        """See `WebhookStore.delay`."""
        return await self._finish(delivery, _ms(delay_s), int(is_attempt))

    async def _finish(self, delivery: Delivery, delay: int | str, attempts: int) -> bool:
        message = delivery.message
        keys = _keys(message.endpoint, partition_of(message.order_id))
        args: list[str | int] = [message.order_id, message.number, delivery.lease, delay, attempts]
        return bool(await self._store.run(FINISH, keys, args))

    async def waiting(self, endpoint: str) -> Waiting:
        """See `WebhookStore.waiting`."""
        counts, heads, now = await asyncio.gather(
            self._on_all("ZCARD", endpoint), self._heads(endpoint), self._now_ms()
        )
        due = {partition: at for partition, at in heads.items() if at <= now}
        return Waiting(sum(counts), due.keys(), max((now - at for at in due.values()), default=0.0) / 1000)

    async def leads(self) -> bool:
        """See `WebhookStore.leads`."""
        return await self._sweep_lease.acquire()

    async def _heads(self, endpoint: str) -> dict[str, float]:
        """The partitions with messages, and when the first of each is due."""
        replies = await self._on_all("ZRANGE", endpoint, 0, 0, "WITHSCORES")
        return {partition: _score(reply) for partition, reply in zip(ALL_PARTITIONS, replies, strict=True) if reply}

    def _on_all(self, command: str, endpoint: str, *args: str | int) -> Awaitable[list[Any]]:
        return asyncio.gather(
            *(self._store.execute(command, webhook_due_key(each, endpoint), *args) for each in ALL_PARTITIONS)
        )

    async def _now_ms(self) -> int:
        seconds, micros = await self._store.execute("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # Endpoints

    async def state(self, endpoint: str) -> EndpointState:
        """See `WebhookStore.state`."""
        held, now = await asyncio.gather(
            self._store.execute("HMGET", webhook_state_key(endpoint), "probe", "since", "paused", "disabled", "at"),
            self._now_ms(),
        )
        probe, since, paused, disabled, at = held
        return EndpointState(
            is_down=probe is not None,
            failing_s=None if since is None else (now - int(since)) / 1000,
            paused_s=max(int(paused or 0) - now, 0) / 1000,
            disabled=None if disabled is None else cast(StopReason, disabled.decode()),
            disabled_at=int(at or 0),
        )

    async def succeeded(self, endpoint: str) -> None:
        """See `WebhookStore.succeeded`."""
        await self._store.execute("HDEL", webhook_state_key(endpoint), "failures", "order", "since", "last", "probe")

    async def failed(
        self, message: Message, policy: FailurePolicy, *, pause_s: float = 0.0, is_gone: bool = False
    ) -> StopReason | None:
        """See `WebhookStore.failed`."""
        reason = await self._store.run(
            FAILED,
            [webhook_state_key(message.endpoint)],
            [
                message.order_id,
                _ms(pause_s),
                int(is_gone),
                policy.down_after,
                _ms(policy.probe_s),
                _ms(policy.disable_s),
                _ms(policy.break_s),
            ],
        )
        return None if reason is None else cast(StopReason, reason.decode())

    async def may_probe(self, endpoint: str, policy: FailurePolicy) -> bool:
        """See `WebhookStore.may_probe`."""
        return bool(await self._store.run(PROBE, [webhook_state_key(endpoint)], [_ms(policy.probe_s)]))

    async def disable(self, endpoint: str) -> None:
        """See `WebhookStore.disable`."""
        await self._store.execute(
            "HSET", webhook_state_key(endpoint), "disabled", "stopped", "at", await self._now_ms()
        )

    async def enable(self, endpoint: str) -> None:
        """See `WebhookStore.enable`."""
        await self._store.execute("DEL", webhook_state_key(endpoint))

    # The log

    async def record(self, attempt: Attempt) -> None:
        """See `WebhookStore.record`."""
        key = webhook_log_key(attempt.message.endpoint)
        line = msgspec.json.encode(attempt)
        await self._store.execute("XADD", key, "MAXLEN", "~", self._log_lines, "*", "attempt", line)

    async def attempts(self, endpoint: str, *, limit: int, since_ms: int = 0) -> Sequence[Attempt]:
        """See `WebhookStore.attempts`."""
        entries = await self._store.execute(
            "XREVRANGE", webhook_log_key(endpoint), "+", since_ms or "-", "COUNT", limit
        )
        return [
            msgspec.structs.replace(_decode_attempt(fields[1]), at=int(entry_id.partition(b"-")[0]))
            for entry_id, fields in entries
        ]


_decode_attempt: Final = msgspec.json.Decoder(Attempt).decode


def _keys(endpoint: str, partition: str) -> list[str]:
    return [webhook_queue_key(partition, endpoint), webhook_due_key(partition, endpoint)]


def _delivery(endpoint: str, order_id: bytes, queue: bytes, lease: bytes) -> Delivery:
    attempts, number, *_ = queue.split()
    return Delivery(Message(endpoint, OrderId(order_id.decode()), int(number)), int(attempts), lease.decode())


def _score(reply: Sequence[Any]) -> float:
    """The score of the one member of a reply, which RESP3 has as a pair."""
    score = reply[0][1] if isinstance(reply[0], list) else reply[1]
    return float(score)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

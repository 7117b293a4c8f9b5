"""The dispatcher of the outbox: sends what this process has accepted, changed or reported to the queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from cart.model import OrderId
from checkout.guarded import GuardedSink
from checkout.outbox import BATCH, OutboxDispatcher
from checkout.queues.redis_queue import MAX_BATCH, RedisQueue
from checkout.redis.outbox import MAX_SLOTS, RedisOutbox
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends
from primitives.tracing.tracer import Tracer
from store import Store, is_cluster

# Entries that are not sent by then are sent by the sweep of another process.
DRAIN_S: Final = 2.0


def open_outbox(store: Store) -> RedisOutbox:
    """The stored outbox; on a cluster each of its partitions has calls of its own."""
    return RedisOutbox(store, slots_per_call=1 if is_cluster(store) else MAX_SLOTS)


def open_dispatcher(
    backends: OrderBackends,
    stack: AsyncExitStack,
    background: Background,
    *,
    sweeps: bool,
    on_sent: Callable[[OrderId], None] | None = None,
    tracer: Tracer | None = None,
) -> OutboxDispatcher:
    """Start the dispatcher; `stack` drains it. Where it does not sweep, it sends only the entries submitted to it.

    `on_sent` is called with the order of each message that the queue has acknowledged. `tracer` records
    the sending of those that carry a trace.
    """
    dispatcher = OutboxDispatcher(
        open_outbox(backends.pinned),
        GuardedSink(backends.queue, backends.breakers.of("queue")),
        pinned=backends.pinned.pinned,
        on_sent=on_sent,
        tracer=tracer,
        batch=MAX_BATCH if isinstance(backends.queue, RedisQueue) else BATCH,
    )
    background.start("outbox", dispatcher.run if sweeps else dispatcher.send)

    async def drain() -> None:
        if not background.is_cut_off:
            await dispatcher.drain(DRAIN_S)

    stack.push_async_callback(drain)
    return dispatcher

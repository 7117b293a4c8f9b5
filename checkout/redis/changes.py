"""Notices of changed orders, published by the scripts that change them on a channel named like the order's key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from cart.model import OrderId
from checkout.stored import order_key
from store.cluster_subscriber import ClusterSubscriber
from store.subscriber import Subscriber


class RedisOrderChanges:
    """`OrderChanges` over the one subscription connection of a process."""

    def __init__(self, subscriber: Subscriber | ClusterSubscriber) -> None:
        self._subscriber = subscriber

    @contextmanager
    def watch(self, order_id: OrderId) -> Iterator[asyncio.Event]:
        """See `OrderChanges.watch`."""
        channel, changed = order_key(order_id), asyncio.Event()
        self._subscriber.listen(channel, changed.set)
        try:
            yield changed
        finally:
            self._subscriber.forget(channel, changed.set)

"""Notices of changed orders and returned stock, published by the scripts that change them on channels named like their keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cart.model import OrderId, Sku
from cart.sku_keys import product_key
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


class RedisStockNotices:
    """`StockNotices` over the one subscription connection of a process."""

    def __init__(self, subscriber: Subscriber | ClusterSubscriber) -> None:
        self._subscriber = subscriber

    def listen(self, sku: Sku, listener: Callable[[], None]) -> None:
        """See `StockNotices.listen`."""
        self._subscriber.listen(product_key(sku), listener)

    def forget(self, sku: Sku, listener: Callable[[], None]) -> None:
        """See `StockNotices.forget`."""
        self._subscriber.forget(product_key(sku), listener)

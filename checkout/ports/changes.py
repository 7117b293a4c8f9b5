"""Notices that an order has changed."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from cart.model import OrderId


class OrderChanges(Protocol):
    """Tells those who follow an order that they should read it again."""

    def watch(self, order_id: OrderId) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when the order has changed, and again when a change may have been missed.

        It is also set once the watch has begun: so a reader who reads, then watches, then waits misses nothing.
        """
        ...

"""Sandbox notifications, without effect in the world: for trying the shop out and for tests."""

from __future__ import annotations

import logging

from checkout.order import Order

_log = logging.getLogger(__name__)


class SandboxNotifications:
    """A `Notifications` that logs the order's number, and nothing about the shopper."""

    async def order_completed(self, order: Order) -> None:
        """See `Notifications.order_completed`."""
        _log.debug("order %s is completed", order.number)

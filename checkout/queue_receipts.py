"""The durability `queue`: an order is accepted once the queue has acknowledged its message."""

from __future__ import annotations

import asyncio
from typing import Final

from cart.model import OrderId
from checkout.ports.outbox import WaitingMessages

# As long as a write waits for its durability.
WITHIN_S: Final = 2.0


class QueueReceipts:
    """Waits for the acknowledgements that the dispatcher of this process reports, for `within_s` seconds at most."""

    def __init__(self, outbox: WaitingMessages, *, within_s: float = WITHIN_S) -> None:
        self._outbox = outbox
        self._within_s = within_s
        self._waiting: dict[OrderId, list[asyncio.Future[None]]] = {}

    def acknowledged(self, order_id: OrderId) -> None:
        """The queue has a message of the order."""
        for receipt in self._waiting.pop(order_id, ()):
            if not receipt.done():
                receipt.set_result(None)

    async def is_queued(self, order_id: OrderId, *, is_new: bool) -> bool:
        """See `checkout.place_order.IsQueued`. That of an order that is not new may have been sent by any process."""
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Before the look: a message that is acknowledged after it is reported.
        self._waiting.setdefault(order_id, []).append(receipt)
        try:
            async with asyncio.timeout(self._within_s):
                if is_new or await self._outbox.has_message_of(order_id):
                    await receipt
        except TimeoutError:
            return False
        finally:
            self._forget(order_id, receipt)
        return True

    def _forget(self, order_id: OrderId, receipt: asyncio.Future[None]) -> None:
        others = [each for each in self._waiting.get(order_id, ()) if each is not receipt]
        if others:
            self._waiting[order_id] = others
        else:
            self._waiting.pop(order_id, None)

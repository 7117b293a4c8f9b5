"""Messages about orders that are in the archive only."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cart.model import OrderId
from checkout.archive.orders import ArchivedOrders
from checkout.errors import OrderElsewhere, OrderNotFound
from checkout.order_number import order_number
from checkout.ports.archive import ArchiveUnavailable
from checkout.processor import Later

# Until a message is delivered again whose order may be in the archive, which is away.
AWAY_S: Final = 10.0

_log = logging.getLogger(__name__)


class ArchivedMessages:
    """Processes orders as `process` does, also those that the store does not have.

    A message of an order that has ended and was deleted is a late duplicate. One of an order in flight shows that the store
    has lost the order: it is restored, and goes on.
    """

    def __init__(self, process: Callable[[OrderId], Awaitable[Later | None]], archived: ArchivedOrders) -> None:
        self._process = process
        self._archived = archived

    async def process(self, order_id: OrderId) -> Later | None:
        """See `checkout.processor.OrderProcessor.process`."""
        try:
            return await self._process(order_id)
        except OrderNotFound:
            try:
                if await self._archived.has_ended(order_id):
                    return None
                if not await self._archived.restore(order_id):
                    raise
            except ArchiveUnavailable:
                return Later(AWAY_S)
            except OrderElsewhere as error:
                _log.warning("a message of order %s, whose home is %s, came here", order_number(order_id), error.home)
                raise OrderNotFound from error
        _log.warning("order %s was missing in the store and is restored from the archive", order_number(order_id))
        return await self._process(order_id)

"""Takes in reports on orders from outside, so that a worker applies them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.dispatch import Dispatch, try_dispatch
from checkout.errors import OrderNotFound
from checkout.facts import Fact
from checkout.order import Order
from checkout.ports.orders import Orders

logger = logging.getLogger(__name__)


class FactIntake:
    """Appends facts to orders. `message` encodes the message to workers; `dispatch` takes its outbox entry and does not wait.

    `unknown` counts the facts of webhooks about orders that this shop does not have, by the service that sent them.
    """

    def __init__(self, orders: Orders, *, message: Callable[[Order], bytes], dispatch: Dispatch) -> None:
        self.unknown: Counter[str] = Counter()
        self._orders = orders
        self._message = message
        self._dispatch = dispatch

    async def append(self, order_id: OrderId, fact: Fact) -> bool:
        """Append the fact; returns once it is as durable as promised. False if it was appended before, by its id.

        Raises `OrderNotFound`, `TooManyFacts` and `ChangeNotDurable`; after the last one it may be appended again.
        """
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        entry = await self._orders.append_fact(order_id, fact, message=self._message(order.as_accepted()))
        if entry is None:
            return False
        try_dispatch(self._dispatch, entry)
        return True

    async def append_of_webhook(self, order_id: str, fact: Fact, *, sender: str) -> None:
        """Append the fact that a webhook reports of the order of this id, as `append` does.

        About an order that this shop does not have, it is counted and logged, and not refused: the service `sender` would
        repeat it for days, in vain. Raises `TooManyFacts` and `ChangeNotDurable`.
        """
        parsed = parse_order_id(order_id)
        if parsed is not None:
            with suppress(OrderNotFound):
                await self.append(parsed, fact)
                return
        self.unknown[sender] += 1
        # Without the id, which may be any text of a stranger.
        logger.warning("a webhook of the %s service is about an order of another shop", sender)

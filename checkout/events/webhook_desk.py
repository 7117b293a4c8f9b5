"""An operator's view of webhooks: the state of endpoints, the delivery log, and delivering messages again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from cart.ids import parse_order_id
from checkout.ports.webhooks import Attempt, EndpointState, Message, Waiting, WebhookStore

# All that the delivery log keeps.
_WHOLE_LOG: Final = 100_000
_WEBHOOK_ID: Final = re.compile(r"(.+)-([1-9][0-9]{0,5})")


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint, its state and the messages that wait for it."""

    name: str
    state: EndpointState
    waiting: Waiting


class UnknownWebhook(Exception):
    """The text is not the id of a webhook about an order."""


class WebhookDesk:
    """Acts on the store alone: the gateway that runs finds messages that are due within seconds."""

    def __init__(self, store: WebhookStore) -> None:
        self._store = store

    async def endpoints(self, names: Sequence[str]) -> Sequence[EndpointView]:
        """The endpoints of these names."""
        return [EndpointView(name, await self._store.state(name), await self._store.waiting(name)) for name in names]

    async def deliveries(self, endpoint: str, *, limit: int = 50, since_ms: int = 0) -> Sequence[Attempt]:
        """The attempts since a time, the latest first."""
        return await self._store.attempts(endpoint, limit=limit, since_ms=since_ms)

    async def redeliver(self, endpoint: str, webhook_id: str) -> None:
        """Deliver one message again, whether or not it was delivered. Raises `UnknownWebhook`."""
        found = _WEBHOOK_ID.fullmatch(webhook_id)
        order_id = parse_order_id(found[1]) if found else None
        if found is None or order_id is None:
            raise UnknownWebhook
        await self._store.add([Message(endpoint, order_id, int(found[2]))])

    async def redeliver_since(self, endpoint: str, since_ms: int, *, delivered_too: bool = False) -> int:
        """Deliver the messages again whose last attempt since a time was no delivery; returns their number.

        They are those of the delivery log, which is bounded. `delivered_too`: all of it since then.
        """
        latest: dict[Message, Attempt] = {}
        for attempt in await self._store.attempts(endpoint, limit=_WHOLE_LOG, since_ms=since_ms):
            latest.setdefault(attempt.message, attempt)
        messages = [
            message
            for message, attempt in latest.items()
            if (delivered_too or attempt.outcome != "delivered") and parse_order_id(message.order_id) is not None
        ]
        await self._store.add(messages)
        return len(messages)

    async def enable(self, endpoint: str) -> None:
        """Send to the endpoint again."""
        await self._store.enable(endpoint)

    async def disable(self, endpoint: str) -> None:
        """Send nothing to the endpoint until it is enabled. New events for it go to the delivery log as skipped."""
        await self._store.disable(endpoint)

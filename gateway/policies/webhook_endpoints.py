"""The endpoints of webhooks in the policies, and their swap while the worker serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from checkout.events.sinks import EventSinks
from checkout.events.webhooks import Endpoint, Webhooks
from gateway.config.policies import Webhook
from gateway.config.secret_file import read_secret_file
from primitives.webhook_signature import WebhookSigner

SINK: Final = "webhooks"


class WebhookEndpoints:
    """Applies the tables `[[webhooks]]`: without one, a change of an order writes no event for them."""

    def __init__(self, webhooks: Webhooks, sinks: EventSinks) -> None:
        self._webhooks = webhooks
        self._sinks = sinks

    def read(self, tables: Sequence[Webhook]) -> Sequence[Endpoint]:
        """The endpoints of the tables, with their secrets. Raises `OSError` and `ValueError`."""
        return [_endpoint(table) for table in tables]

    def apply(self, endpoints: Sequence[Endpoint]) -> None:
        """Deliver to these from now on."""
        self._webhooks.update(endpoints)
        self._sinks.enable(SINK, is_enabled=bool(endpoints))


def _endpoint(table: Webhook) -> Endpoint:
    return Endpoint(
        name=table.name,
        url=table.url,
        signer=WebhookSigner.of_file(read_secret_file(table.secret_file).decode()),
        types=frozenset(table.types),
        timeout_s=table.timeout_s,
        allow_private=table.allow_private,
    )

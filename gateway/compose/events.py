"""Events of orders: the relays of a process to the sinks that are enabled."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from checkout.events.guarded_sink import GuardedEventSink
from checkout.events.http_sender import open_http_sender
from checkout.events.relay import EventRelay
from checkout.events.topic_sink import TopicSink
from checkout.events.webhook_desk import WebhookDesk
from checkout.events.webhooks import Webhooks
from checkout.ports.events import EventSink
from checkout.redis.event_outbox import RedisEventOutbox
from checkout.redis.webhooks import RedisWebhooks
from gateway.admin.webhook_commands import WebhookCommands
from gateway.build import VERSION
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends, is_store_outage
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.outages import is_outage

# Events that are not relayed by then are relayed by another process.
_DRAIN_S: Final = 2.0


def start_relay(
    name: str, sink: EventSink, backends: OrderBackends, background: Background, stack: AsyncExitStack
) -> EventRelay:
    """Relay the events of orders to a sink in the background; `name` is one of `gateway.compose.sinks`."""
    relay = EventRelay(
        RedisEventOutbox(backends.pinned, name),
        backends.orders,
        sink,
        name=name,
        pinned=backends.pinned.pinned,
        is_enabled=lambda: name in backends.events.names,
        is_outage=_is_outage,
    )
    backends.events.attach(relay.notice)
    backends.relays.append(relay)
    background.start(f"events for {name}", relay.run)

    async def drain() -> None:
        if not background.is_cut_off:
            await relay.drain(_DRAIN_S)

    stack.push_async_callback(drain)
    return relay


def _is_outage(error: Exception) -> bool:
    return is_outage(error) or is_store_outage(error)


async def open_webhooks(backends: OrderBackends, background: Background, stack: AsyncExitStack) -> Webhooks:
    """Deliver webhooks in the background, to the endpoints that the policies name."""
    sender = await stack.enter_async_context(open_http_sender())
    webhooks = Webhooks(
        RedisWebhooks(backends.pinned),
        backends.orders,
        sender,
        is_outage=_is_outage,
        user_agent=f"Peakgate-Webhooks/{VERSION}",
    )
    background.start("webhooks", webhooks.run)
    start_relay("webhooks", webhooks, backends, background, stack)
    return webhooks


def webhook_commands(webhooks: Webhooks, backends: OrderBackends) -> WebhookCommands:
    """The commands of operators on webhooks."""
    return WebhookCommands(WebhookDesk(RedisWebhooks(backends.pinned)), lambda: tuple(webhooks.endpoints))


async def publish_on_topic(
    settings: Settings, backends: OrderBackends, background: Background, stack: AsyncExitStack
) -> None:
    """Publish the events of orders on the topic of the settings, if they name one. Raises `CannotStart`."""
    if settings.sns_topic is None:
        return
    try:
        # Slow to import, seldom needed, and with the libraries of an extra.
        from checkout.aws.sns_topic import open_sns_topic
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"--sns-topic needs the client library of AWS ({error.name} is not installed): "
            f"pip install 'peakgate[aws]', or make install-aws in a clone"
        ) from error
    try:
        opening = open_sns_topic(settings.sns_topic, endpoint_url=settings.aws_endpoint_url)
        topic = await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(str(error)) from error
    guarded = GuardedEventSink(TopicSink(topic), backends.breakers.of("sns"))
    start_relay("sns", guarded, backends, background, stack)

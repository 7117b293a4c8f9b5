"""Publishes the events of orders on a topic, with attributes for the filters of subscribers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

from cart.model import OrderId
from checkout.events.event_message import event_id, event_type, order_event
from checkout.ports.events import NewEvent
from checkout.ports.topics import MAX_BATCH, MAX_BATCH_BYTES, Notification, Topic

_log = logging.getLogger(__name__)

# Attributes count too; those of one notification are well below.
_ATTRIBUTE_BYTES: Final = 1024


class TopicSink:
    """`EventSink` on a topic: the bodies are those of webhooks. A notification may be published twice, with the same id.

    The events of an order are published one after the other: no call has two of them.
    """

    def __init__(self, topic: Topic) -> None:
        self.dropped = 0
        self._topic = topic

    async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
        """See `EventSink.take`."""
        refused: set[OrderId] = set()
        waiting = list(events)
        while waiting := [each for each in waiting if each.order.id not in refused]:
            batch = _next_batch(waiting)
            failures = await self._topic.publish([notification for _, notification in batch])
            for failure in failures:
                event, notification = batch[failure.index]
                if failure.is_permanent:
                    self._drop(notification, failure.code)
                else:
                    refused.add(event.order.id)
            done = {notification.id for _, notification in batch}
            waiting = [each for each in waiting if event_id(each.order, each.number) not in done]
        return refused

    def _drop(self, notification: Notification, code: str) -> None:
        """It would hold up the order for ever."""
        self.dropped += 1
        _log.error(
            "the topic refuses an event of type %s for good (%s); it is dropped", notification.attributes["type"], code
        )


def _next_batch(events: Sequence[NewEvent]) -> Sequence[tuple[NewEvent, Notification]]:
    """The next call: one event of each order, as many as fit."""
    batch: list[tuple[NewEvent, Notification]] = []
    size, orders = 0, set[OrderId]()
    for event in events:
        if event.order.id in orders:
            continue
        orders.add(event.order.id)
        notification = _notification(event)
        size += len(notification.body) + _ATTRIBUTE_BYTES
        if batch and (len(batch) == MAX_BATCH or size > MAX_BATCH_BYTES):
            break
        batch.append((event, notification))
    return batch


def _notification(event: NewEvent) -> Notification:
    order, number = event.order, event.number
    return Notification(
        id=event_id(order, number),
        group=order.id,
        body=order_event(order, number),
        attributes={
            "type": event_type(order, number),
            "status": event.entry.status.value,
            "currency": order.currency,
            "total": order.total,
        },
    )

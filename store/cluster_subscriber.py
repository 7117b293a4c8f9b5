"""Notices of changes on a cluster: a `Subscriber` for each primary, with the channels of its slots."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from store.cluster import ClusterClient
from store.slots import slot_of
from store.subscriber import PING_S, Listener, Subscriber
from store.topology import Address

# A server that does not know its slots yet refuses the subscription; it is asked again after this time.
AGAIN_S: Final = 0.2


class ClusterSubscriber:
    """See `store.subscriber.Subscriber`. Channels follow their slots to other primaries; `client` says where those are."""

    def __init__(self, client: ClusterClient, *, ping_s: float = PING_S) -> None:
        self._client = client
        self._ping_s = ping_s
        self._listeners: dict[str, list[Listener]] = {}
        self._places: dict[str, Address] = {}
        self._subscribers: dict[Address, Subscriber] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._has_changed = asyncio.Event()
        client.on_moved(self._has_changed.set)

    @property
    def is_connected(self) -> bool:
        """Whether notices of all channels arrive now."""
        return bool(self._subscribers) and all(each.is_connected for each in self._subscribers.values())

    @property
    def channels(self) -> int:
        """The number of channels that have a listener."""
        return len(self._listeners)

    def listen(self, channel: str, listener: Listener) -> None:
        """See `Subscriber.listen`."""
        self._listeners.setdefault(channel, []).append(listener)
        if channel in self._places:
            self._subscribers[self._places[channel]].listen(channel, listener)
        else:
            self._has_changed.set()

    def forget(self, channel: str, listener: Listener) -> None:
        """See `Subscriber.forget`."""
        self._listeners[channel].remove(listener)
        if channel in self._places:
            self._subscribers[self._places[channel]].forget(channel, listener)
        if not self._listeners[channel]:
            del self._listeners[channel]
            self._places.pop(channel, None)

    def reconnect(self) -> None:
        """Look again where the channels are."""
        self._has_changed.set()

    async def run(self) -> None:
        """Stay connected to all primaries until cancelled."""
        try:
            while True:
                self._has_changed.clear()
                self._place_all()
                await self._has_changed.wait()
        finally:
            for address in list(self._tasks):
                self._end(address)

    def _place_all(self) -> None:
        owners = {node.address: node for node in self._client.nodes}
        for channel, listeners in self._listeners.items():
            owner = self._client.owner_at(slot_of(channel))
            if owner is not None and self._places.get(channel) != owner.address:
                self._move(channel, listeners, owner.address)
        for address in set(self._subscribers) - set(owners):
            self._end(address)

    def _move(self, channel: str, listeners: list[Listener], address: Address) -> None:
        before = self._places.get(channel)
        self._places[channel] = address
        subscriber = self._subscriber_at(address)
        for listener in listeners:
            if before in self._subscribers:
                self._subscribers[before].forget(channel, listener)
            subscriber.listen(channel, listener)

    def _subscriber_at(self, address: Address) -> Subscriber:
        subscriber = self._subscribers.get(address)
        if subscriber is None:
            url = self._client.url_of(address)
            subscriber = self._subscribers[address] = Subscriber(url, ping_s=self._ping_s, on_moved=self._lost)
            self._tasks[address] = asyncio.get_running_loop().create_task(subscriber.run())
        return subscriber

    def _lost(self) -> None:
        """A server refused or ended a subscription, because the slot is another's: that may be known only later."""
        self._client.note_trouble()
        asyncio.get_running_loop().call_later(AGAIN_S, self._subscribe_again)

    def _subscribe_again(self) -> None:
        self._has_changed.set()
        for channel, address in self._places.items():
            with contextlib.suppress(KeyError):
                self._subscribers[address].confirm(channel)

    def _end(self, address: Address) -> None:
        self._tasks.pop(address).cancel()
        del self._subscribers[address]
        for channel in [each for each, place in self._places.items() if place == address]:
            del self._places[channel]

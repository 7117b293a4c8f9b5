"""A limit of streams that are open at a time, in all and for one client: slow clients must not take everything."""

from __future__ import annotations


class StreamLimit:
    """Counts streams by client. Each `try_enter` that succeeds is followed by one `leave`."""

    __slots__ = ("_by_client", "max_per_client", "max_streams", "streams")

    def __init__(self, max_streams: int, max_per_client: int) -> None:
        self._by_client: dict[str, int] = {}
        self.streams = 0
        self.max_streams = 0
        self.max_per_client = 0
        self.resize(max_streams, max_per_client)

    def resize(self, max_streams: int, max_per_client: int) -> None:
        """Set other limits, at least 1; streams that are open stay."""
        self.max_streams = max(1, max_streams)
        self.max_per_client = max(1, max_per_client)

    def has_room(self, client: str) -> bool:
        """Whether there is room for a stream of this client."""
        return self.streams < self.max_streams and self._by_client.get(client, 0) < self.max_per_client

    def try_enter(self, client: str) -> bool:
        """Count a stream of this client, if there is room for it."""
        if not self.has_room(client):
            return False
        self.enter(client)
        return True

    def enter(self, client: str) -> None:
        """Count a stream of this client, for which there was room when it was requested."""
        self._by_client[client] = self._by_client.get(client, 0) + 1
        self.streams += 1

    def leave(self, client: str) -> None:
        """A stream of this client has ended."""
        self.streams -= 1
        own = self._by_client[client] - 1
        if own:
            self._by_client[client] = own
        else:
            del self._by_client[client]

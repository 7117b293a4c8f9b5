"""Bounds the connections to a target that streamed bodies hold, so that slow clients cannot take all of them.

A whole request holds its connection for as long as the upstream takes, a streamed body for as long as its client takes.
"""

from __future__ import annotations

from typing import Final

# The largest share of a target's connections for all streams, and for those of one client. The rest is for whole requests.
MAX_SHARE: Final = 0.75
MAX_CLIENT_SHARE: Final = 0.125


class StreamLimit:
    """Counts the streams of one target by client. Each `try_enter` that succeeds is followed by one `leave`."""

    __slots__ = ("_by_client", "_max_per_client", "_max_streams", "streams")

    def __init__(self, max_connections: int) -> None:
        self._by_client: dict[str, int] = {}
        self.streams = 0
        self._max_streams = 0
        self._max_per_client = 0
        self.resize(max_connections)

    def resize(self, max_connections: int) -> None:
        """Set the limits for a target with so many connections; a pool of one or two still serves a stream."""
        self._max_streams = max(1, int(max_connections * MAX_SHARE))
        self._max_per_client = max(1, int(max_connections * MAX_CLIENT_SHARE))

    def try_enter(self, client: str) -> bool:
        """Count a stream of this client, if there is room for it."""
        own = self._by_client.get(client, 0)
        if self.streams >= self._max_streams or own >= self._max_per_client:
            return False
        self._by_client[client] = own + 1
        self.streams += 1
        return True

    def leave(self, client: str) -> None:
        """A stream of this client has ended."""
        self.streams -= 1
        own = self._by_client[client] - 1
        if own:
            self._by_client[client] = own
        else:
            del self._by_client[client]

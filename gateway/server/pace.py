"""The slowest pace at which a client may send a body or read a response. No I/O and no clock."""

from __future__ import annotations


class Pace:
    """Whether a client is fast enough: pauses spend patience, and bytes earn it back.

    A limit for each piece alone would let a byte now and then hold a connection for ever; one for the whole body would
    reject bodies that are only large. The time that a slow handler or upstream takes is not the client's.
    """

    __slots__ = ("_max_pause_s", "_min_bytes_per_s", "_patience_s", "_seen_at", "_seen_bytes", "_was_awaited")

    def __init__(self, min_bytes_per_s: int, max_pause_s: float) -> None:
        self._seen_at = 0.0
        self._seen_bytes = 0
        self._was_awaited = False
        self.require(min_bytes_per_s, max_pause_s)

    def require(self, min_bytes_per_s: int, max_pause_s: float) -> None:
        """Require this pace from now on, on average after a pause of `max_pause_s`."""
        self._min_bytes_per_s = min_bytes_per_s
        self._patience_s = self._max_pause_s = max_pause_s

    def begin(self, now: float, moved_bytes: int, *, is_awaited: bool) -> None:
        """Begin to watch. `moved_bytes` is a running count, `is_awaited` whether it is the client's turn."""
        self._seen_at, self._seen_bytes, self._was_awaited = now, moved_bytes, is_awaited

    def is_kept(self, now: float, moved_bytes: int, *, is_awaited: bool) -> bool:
        """Whether the client has kept the pace since the last call."""
        earned_s = (moved_bytes - self._seen_bytes) / self._min_bytes_per_s
        spent_s = now - self._seen_at if is_awaited and self._was_awaited else 0.0
        self._patience_s = min(self._max_pause_s, self._patience_s - spent_s + earned_s)
        self.begin(now, moved_bytes, is_awaited=is_awaited)
        return self._patience_s >= 0

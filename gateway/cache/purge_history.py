"""The purges of the recent past by position, which void responses that were fetched before them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from gateway.cache.purge import Purge, covers, target_and_host
from primitives.bounded_map import BoundedMap

# Responses that were fetched before the oldest remembered purge are not trusted.
MAX_PURGES: Final = 10_000


class Verdict(IntEnum):
    """The effect of the purges since a position on a response."""

    UNTOUCHED = 0
    STALE = 1
    VOID = 2


class PurgeHistory:
    """Purges and their positions, which only rise. A response is void if a later purge covers it.

    At most `max_purges` are remembered of prefixes, and as many of addresses and tags.
    """

    def __init__(self, max_purges: int = 2 * MAX_PURGES) -> None:
        self._exact: BoundedMap[Purge, int] = BoundedMap(max_purges, on_evict=self._forget)
        # Every prefix is compared; there are few.
        self._prefixes: BoundedMap[Purge, int] = BoundedMap(max_purges, on_evict=self._forget)
        # Responses from before this position are void.
        self.floor = 0
        self._latest = 0

    def add(self, purge: Purge, position: int) -> None:
        """Remember a purge."""
        self._latest = max(self._latest, position)
        purges = self._prefixes if purge.kind == "prefix" else self._exact
        purges.put(purge, max(position, purges.discard(purge) or 0))

    def _forget(self, _purge: Purge, position: int) -> None:
        self.floor = max(self.floor, position)

    def verdict(self, key: str, tags: Iterable[str], since: int) -> Verdict:
        """The verdict on a response of that key and those tags that was requested at position `since`."""
        if since >= self._latest:
            return Verdict.UNTOUCHED
        if since < self.floor:
            return Verdict.VOID
        prefixes = [purge for purge, position in self._prefixes.items() if position > since and covers(purge, key, ())]
        for soft, verdict in ((False, Verdict.VOID), (True, Verdict.STALE)):
            if any((self._exact.get(purge) or 0) > since for purge in _exact_purges(key, tags, soft=soft)):
                return verdict
            if any(purge.soft is soft for purge in prefixes):
                return verdict
        return Verdict.UNTOUCHED


def _exact_purges(key: str, tags: Iterable[str], *, soft: bool) -> list[Purge]:
    target, host = target_and_host(key)
    of_address = [Purge("url", target, "", soft), Purge("url", target, host, soft)]
    return of_address + [Purge("tag", tag, "", soft) for tag in tags]

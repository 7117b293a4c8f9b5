"""Purges in a worker: applies its own and those of other workers, and publishes its own to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from gateway.cache.host_tier import HostTier
from gateway.cache.memory_tier import MemoryTier
from gateway.cache.purge import Purge, covers, target_and_host
from gateway.cache.purge_history import MAX_PURGES, PurgeHistory, Verdict
from gateway.cache.purge_log import PurgeLog
from gateway.cache.stats import CacheStats
from gateway.cache.stored_response import StoredResponse
from primitives.unit_of_work import unit_of_work
from store import StoreError

POLL_S: Final = 1.0
# A worker that has not read the log for this long does not trust the second tier.
MAX_POLL_AGE_S: Final = 5.0
# Keys purged before other requests get a turn of the loop.
_BATCH: Final = 500


class Purging:
    """The purges of a worker, and of all workers with a `log`."""

    def __init__(
        self,
        memory: MemoryTier,
        stats: CacheStats,
        *,
        log: PurgeLog | None,
        host: HostTier | None,
        clock: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._host = host
        self._stats = stats
        self._clock = clock
        # Counts the purges applied here.
        self._position = 0
        self._applied = PurgeHistory()
        # Purges of all workers, by their positions in the log.
        self._log = log
        self._logged = PurgeHistory()
        self._polled_at = float("-inf")
        # Purges of this worker that are not in the log yet, and the positions of those that are.
        self._unpublished: dict[Purge, None] = {}
        self._own_positions: set[int] = set()

    @property
    def unpublished(self) -> int:
        """Purges that the other workers do not know yet."""
        return len(self._unpublished)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the purges of other workers were read recently."""
        return self._log is not None and self._clock() <= self._polled_at + MAX_POLL_AGE_S

    def positions(self) -> tuple[int, int]:
        """The current positions here and in the log; taken before a response is requested from the origin."""
        return self._position, self._log.position if self._log is not None else 0

    def verdict(self, key: str, tags: Iterable[str], since: int) -> Verdict:
        """The verdict of the purges applied here on a response that was requested at position `since`."""
        return self._applied.verdict(key, tags, since)

    def verdict_on_shared(self, key: str, stored: StoredResponse, position: int, *, since: int) -> Verdict:
        """The verdict on a response of the second tier; `position` is its own in the log, `since` of the read here."""
        verdict = max(self._logged.verdict(key, stored.tags, position), self._applied.verdict(key, stored.tags, since))
        for purge in self._unpublished:
            if covers(purge, key, stored.tags):
                verdict = max(verdict, Verdict.STALE if purge.soft else Verdict.VOID)
        return verdict

    async def purge(self, purge: Purge) -> int:
        """Apply a purge and publish it; returns the number of responses purged on this host, or without one here."""
        if self._log is not None:
            self._unpublished[purge] = None
        count = await self._apply_in_batches(purge)
        await self._publish([purge])
        return count

    def invalidate(self, key: str, addresses: Iterable[str]) -> None:
        """Purge addresses on the host of `key`, after an unsafe request that succeeded (RFC 9111, 4.4)."""
        host = target_and_host(key)[1]
        for address in addresses:
            purge = Purge("url", address, host)
            self._remember(purge)
            on_host = self._host.invalidate(purge) if self._host is not None else None
            here = sum([self._apply_to(purged_key, purge) for purged_key in self._memory.keys_of(purge)])
            self._stats.purged += here if on_host is None else on_host
            if self._log is not None:
                # Published with the next poll: equal ones of a second are published once.
                self._unpublished[purge] = None
        if len(self._unpublished) > MAX_PURGES:
            self._unpublished = {Purge("prefix", "/"): None}

    async def poll(self) -> None:
        """Publish and read purges once."""
        if self._log is None:
            return
        await self._publish([*self._unpublished])
        try:
            purges = await self._log.read()
        except StoreError:
            self._stats.shared_errors += 1
            return
        self._logged.floor = max(self._logged.floor, self._log.floor)
        self._polled_at = self._clock()
        for position, purge, host_id in purges:
            self._logged.add(purge, position)
            if position in self._own_positions:
                self._own_positions.remove(position)
            elif self._host is None or host_id != self._host.id:
                await self._apply_in_batches(purge)

    async def run(self) -> None:
        """Poll until cancelled. To be run under supervision: without polls this worker would serve void responses."""
        while True:
            with unit_of_work():
                await self.poll()
            await asyncio.sleep(POLL_S)

    async def _publish(self, purges: Iterable[Purge]) -> None:
        """Append purges to the log; those that fail are published with a later poll."""
        if self._log is None:
            return
        for purge in purges:
            try:
                position = await self._log.publish(purge, self._host.id if self._host is not None else "")
            except StoreError:
                self._stats.shared_errors += 1
                return
            self._logged.add(purge, position)
            self._own_positions.add(position)
            self._unpublished.pop(purge, None)

    async def _apply_in_batches(self, purge: Purge) -> int:
        """Apply a purge that may cover everything, without blocking the loop for more than a few milliseconds."""
        self._remember(purge)
        on_host = await self._apply_on_host(self._host, purge) if self._host is not None else None
        count = 0
        for done, key in enumerate(self._memory.keys_of(purge), 1):
            count += self._apply_to(key, purge)
            if done % _BATCH == 0:
                await asyncio.sleep(0)
        count = count if on_host is None else on_host
        self._stats.purged += count
        return count

    async def _apply_on_host(self, host: HostTier, purge: Purge) -> int:
        """Apply a purge for all workers of this host."""
        if purge.kind == "url":
            return host.invalidate(purge)
        position = host.begin_purge(purge)
        count, start = host.purge_batch(purge, 0, position)
        while start:
            await asyncio.sleep(0)
            more, start = host.purge_batch(purge, start, position)
            count += more
        return count

    def _remember(self, purge: Purge) -> None:
        self._position += 1
        self._applied.add(purge, self._position)

    def _apply_to(self, key: str, purge: Purge) -> int:
        return self._memory.purge(key, purge, self._clock())

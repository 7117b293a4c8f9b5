"""The response cache of a worker: two tiers, purges, background work and stats. `response_cache` is its layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from gateway.cache.background_work import BackgroundWork
from gateway.cache.memory_tier import MAX_VARY_NAMES, MemoryTier
from gateway.cache.model import Selection, StaleDefaults
from gateway.cache.purge import parse_purge
from gateway.cache.purge_history import Verdict
from gateway.cache.purge_log import PurgeLog
from gateway.cache.purging import Purging
from gateway.cache.second_tier import SecondTier, shared_ttl_s
from gateway.cache.shared_format import SharedResponse
from gateway.cache.stats import CacheStats
from gateway.cache.stored_response import StoredResponse
from gateway.cache.uncacheable import UncacheableKeys
from gateway.config.policies import Cache
from gateway.metrics import Metric, Sample
from store import Store, StoreError


class ResponseCache:
    """The stored responses of a worker. It outlives a reload (`update`).

    With a `store`, purges reach all workers within about two seconds, by `run`; with `table.shared`, responses are also
    stored there. `clock` is monotonic, `now` the wall clock, both in seconds.
    """

    def __init__(
        self,
        table: Cache,
        *,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.stats = CacheStats()
        self.clock = clock
        self.now = now
        self.memory = MemoryTier(table.memory_bytes)
        self.uncacheable = UncacheableKeys()
        self._store = store
        log = PurgeLog(store) if store is not None else None
        self._purging = Purging(self.memory, self.stats, log=log, clock=clock)
        self._second: SecondTier | None = None
        self._background = BackgroundWork()
        self.update(table)

    def update(self, table: Cache) -> None:
        """Apply another table; stored responses stay as far as they fit."""
        self._table = table
        self.is_enabled = table.enabled
        self.defaults = StaleDefaults(table.stale_while_revalidate_s, table.stale_if_error_s)
        self.memory.resize(table.memory_bytes if table.enabled else 0)
        self._second = SecondTier(self._store) if table.enabled and table.shared and self._store is not None else None

    # Storing

    def positions(self) -> tuple[int, int]:
        """The current positions of purges; taken before a response is requested, and given to `put` with it."""
        return self._purging.positions()

    def put(
        self,
        key: str,
        names: tuple[str, ...],
        headers: Mapping[str, str],
        stored: StoredResponse,
        *,
        since: tuple[int, int],
    ) -> bool:
        """Store a response for requests that equal `headers` in the fields `names`; returns whether it is stored.

        A response that was purged after the positions `since` is not stored.
        """
        if len(stored.body) > self._table.max_entry_bytes or len(names) > MAX_VARY_NAMES:
            return False
        verdict = self._purging.verdict(key, stored.tags, since[0])
        if verdict is Verdict.VOID:
            return False
        if verdict is Verdict.STALE:
            stored.expire(self.clock())
        self.uncacheable.discard(key)
        names, selected = self.memory.put(key, names, headers, stored)
        if self._second is not None and verdict is Verdict.UNTOUCHED:
            writing = self._write_second(self._second, key, names, selected, stored, position=since[1])
            if not self.in_background(writing):
                self.stats.shared_dropped += 1
        return True

    def set_uncacheable(self, key: str, *, is_personal: bool = False) -> None:
        """Remember for a while that a response could not be stored, so that requests for it do not wait."""
        self.stats.uncacheable += 1
        self.uncacheable.add(key, self.clock(), is_personal=is_personal)

    # The second tier

    async def load(self, key: str, headers: Mapping[str, str]) -> StoredResponse | None:
        """The response of the second tier if it is younger than the one in memory; None as well when the store fails."""
        second = self._second
        if second is None or not self._purging.is_up_to_date:
            return None
        since = self._purging.positions()[0]
        try:
            found = await second.read(key, headers)
        except StoreError:
            self.stats.shared_errors += 1
            return None
        stored = self._trusted(key, found[1], since) if found is not None else None
        if found is None or stored is None:
            self.stats.shared_misses += 1
            return None
        variants = self.memory.get(key)
        in_memory = variants.find(headers) if variants is not None else None
        if in_memory is not None and in_memory.age_s(0.0) <= stored.age_s(0.0):
            return None
        self.stats.shared_hits += 1
        self.memory.put(key, found[0], headers, stored)
        return stored

    def _trusted(self, key: str, shared: SharedResponse, since: int) -> StoredResponse | None:
        """The response, unless it was purged after it was requested."""
        stored = shared.stored(clock=self.clock(), now=self.now())
        verdict = self._purging.verdict_on_shared(key, stored, shared.head.position, since=since)
        if verdict is Verdict.VOID:
            return None
        if verdict is Verdict.STALE:
            stored.expire(self.clock())
        return stored

    async def _write_second(
        self,
        second: SecondTier,
        key: str,
        names: tuple[str, ...],
        selected: Selection,
        stored: StoredResponse,
        *,
        position: int,
    ) -> None:
        now = self.clock()
        ttl_s = shared_ttl_s(stored, now)
        if ttl_s <= 0:
            return
        shared = SharedResponse.of(stored, clock=now, now=self.now(), position=position)
        try:
            await second.write(key, names, selected, shared, ttl_s=ttl_s)
            self.stats.shared_writes += 1
        except StoreError:
            self.stats.shared_errors += 1

    # Purging

    async def purge(
        self, *, url: str | None = None, prefix: str | None = None, tag: str | None = None, soft: bool = False
    ) -> int:
        """Remove the responses of one address, below a prefix, or with a tag; `soft` makes them stale instead.

        Returns the number of responses of this worker. The other workers follow within about two seconds, or when the
        store is available again; until then the second tier serves nothing that was purged. Raises `ValueError` unless
        exactly one is named.
        """
        return await self._purging.purge(parse_purge(url=url, prefix=prefix, tag=tag, soft=soft))

    def invalidate(self, key: str, addresses: Iterable[str]) -> None:
        """Remove the responses of addresses that an unsafe request has changed, on the host of `key` (RFC 9111, 4.4)."""
        self._purging.invalidate(key, addresses)

    async def poll(self) -> None:
        """Exchange purges with the other workers once."""
        await self._purging.poll()

    async def run(self) -> None:
        """Exchange purges with the other workers until cancelled."""
        await self._purging.run()

    # Background work

    def in_background(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` beside the responses; returns False, and drops it, while too much runs."""
        return self._background.start(work)

    async def close(self) -> None:
        """Cancel the background work."""
        await self._background.close()

    # Status

    def snapshot(self) -> Mapping[str, Any]:
        """See `Observed`."""
        return {
            "enabled": self.is_enabled,
            "entries": len(self.memory),
            "bytes": self.memory.bytes,
            "max_bytes": self.memory.max_bytes,
            "evictions": self.memory.evictions,
            "shared": self._second is not None,
            "unpublished_purges": self._purging.unpublished,
            "background_tasks": len(self._background),
            **self.stats.counts(),
        }

    def metrics(self) -> Iterable[Metric]:
        """See `Observed`."""
        memory = self.memory
        yield from self.stats.metrics()
        yield Metric("peakgate_cache_entries", "Addresses with stored responses.", "gauge", [Sample({}, len(memory))])
        yield Metric("peakgate_cache_bytes", "Memory in use by stored responses.", "gauge", [Sample({}, memory.bytes)])
        yield Metric(
            "peakgate_cache_evictions_total",
            "Addresses evicted to make room.",
            "counter",
            [Sample({}, memory.evictions)],
        )

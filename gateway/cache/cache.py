"""The response cache of a worker: two tiers, purges, background work and stats. `response_cache` is its layer."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from gateway.cache.background_work import BackgroundWork
from gateway.cache.host_tier import HostTier
from gateway.cache.memory_tier import MAX_VARY_NAMES, MemoryTier
from gateway.cache.model import Selection, StaleDefaults
from gateway.cache.purge import parse_purge
from gateway.cache.purge_history import Verdict
from gateway.cache.purge_log import PurgeLog
from gateway.cache.purging import Purging
from gateway.cache.recording import Reader, Recording, RecordingBudget
from gateway.cache.second_tier import SecondTier, shared_ttl_s
from gateway.cache.shared_format import SharedResponse
from gateway.cache.stats import CacheStats
from gateway.cache.stored_response import StoredResponse
from gateway.cache.uncacheable import UncacheableKeys
from gateway.config.policies import Cache
from gateway.http.message import StreamedResponse
from gateway.metrics import Metric, Sample
from store import Store, StoreError

MAX_RECORDINGS: Final = 1_024
# Responses that are being received take at most this share of the memory.
_RECORDING_SHARE: Final = 4
# Streams of events have no end.
_EVENTS: Final = re.compile(rb"text/event-stream", re.IGNORECASE)
# Of purges in this worker, in the log, and on the host, and the guard of the key there.
Positions = tuple[int, int, int, int]


class ResponseCache:
    """The stored responses of a worker. It outlives a reload (`update`).

    With `host`, all workers of the host have one cache, of which `memory` holds copies. With a `store`, purges reach the
    workers of other hosts within about two seconds, by `run`; with `table.shared`, responses are also stored there.
    `clock` is monotonic, `now` the wall clock, both in seconds.
    """

    def __init__(
        self,
        table: Cache,
        *,
        store: Store | None = None,
        host: HostTier | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.stats = CacheStats()
        self.clock = clock
        self.now = now
        self.memory = MemoryTier(table.memory_bytes)
        self.uncacheable = UncacheableKeys()
        self._store = store
        self._host = host
        # Of a copy in memory: read at every hit. Without other workers there is one generation.
        self.generations: Any = host.generations if host is not None else array("Q", [0])
        log = PurgeLog(store) if store is not None else None
        self._purging = Purging(self.memory, self.stats, log=log, host=host, clock=clock)
        self._second: SecondTier | None = None
        self._background = BackgroundWork()
        self._recordings = BackgroundWork(MAX_RECORDINGS)
        self._recording_budget = RecordingBudget(0)
        self.update(table)

    def update(self, table: Cache) -> None:
        """Apply another table; stored responses stay as far as they fit."""
        self._table = table
        self.is_enabled = table.enabled
        self._recording_budget.max_bytes = max(table.max_entry_bytes, table.memory_bytes // _RECORDING_SHARE)
        self.defaults = StaleDefaults(table.stale_while_revalidate_s, table.stale_if_error_s)
        self.memory.resize(table.memory_bytes if table.enabled else 0)
        self._second = SecondTier(self._store) if table.enabled and table.shared and self._store is not None else None

    # Storing

    def positions(self, key: str) -> Positions:
        """The current positions of purges; taken before a response is requested, and given to `put` with it."""
        here, logged = self._purging.positions()
        on_host, guard = self._host.positions(key) if self._host is not None else (0, 0)
        return here, logged, on_host, guard

    def fits(self, names: tuple[str, ...], length: int) -> bool:
        """Whether a response that varies by these fields, with a body of this length, can be stored."""
        return length <= self._table.max_entry_bytes and len(names) <= MAX_VARY_NAMES

    def put(
        self,
        key: str,
        names: tuple[str, ...],
        headers: Mapping[str, str],
        stored: StoredResponse,
        *,
        since: Positions,
    ) -> bool:
        """Store a response for requests that equal `headers` in the fields `names`; returns whether it is stored.

        A response that was purged after the positions `since` is not stored; `fits` says whether it can be at all.
        """
        verdict = self._purging.verdict(key, stored.tags, since[0])
        if verdict is Verdict.VOID:
            return False
        if verdict is Verdict.STALE:
            stored.expire(self.clock())
        copied = self._put(key, names, headers, stored, since)
        if copied is None:
            return False
        self.uncacheable.discard(key)
        names, selected = copied
        if self._second is not None and verdict is Verdict.UNTOUCHED:
            writing = self._write_second(self._second, key, names, selected, stored, position=since[1])
            if not self.in_background(writing):
                self.stats.shared_dropped += 1
        return True

    def _put(
        self, key: str, names: tuple[str, ...], headers: Mapping[str, str], stored: StoredResponse, since: Positions
    ) -> tuple[tuple[str, ...], Selection] | None:
        """Store a response for all workers, and a copy in memory; returns the names and selection used."""
        host = self._host
        if host is None:
            return self.memory.put(key, names, headers, stored)
        done = host.put(key, names, headers, stored, since=(since[2], since[3]))
        if done is None:
            return None
        return self._copy(key, done.names, headers, stored, done.slot, done.before, done.generation)

    def _copy(  # noqa: PLR0917 - in two places
        self,
        key: str,
        names: tuple[str, ...],
        headers: Mapping[str, str],
        stored: StoredResponse,
        slot: int,
        before: int,
        generation: int,
    ) -> tuple[tuple[str, ...], Selection]:
        """Put a copy into memory beside those of the same key, unless these are older than the generation `before`."""
        variants = self.memory.get(key)
        if variants is not None and variants.generation != before:
            self.memory.remove(key)
        used = self.memory.put(key, names, headers, stored)
        variants = self.memory.get(key)
        if variants is not None:
            variants.slot = slot
            variants.generation = generation
        return used

    def find(self, key: str, headers: Mapping[str, str]) -> StoredResponse | None:
        """The stored response that a request selects, fresh or not."""
        variants = self.memory.get(key)
        if variants is not None and self.generations[variants.slot] == variants.generation:
            stored = variants.find(headers)
            if stored is not None:
                variants.was_used = True
                return stored
        return self._load_from_host(self._host, key, headers) if self._host is not None else None

    def _load_from_host(self, host: HostTier, key: str, headers: Mapping[str, str]) -> StoredResponse | None:
        slot = host.slot_of(key)
        generation = host.generation(slot)
        found = host.load(key, headers)
        if found is None:
            variants = self.memory.get(key)
            if variants is not None and variants.generation != generation:
                self.memory.remove(key)
            return None
        self.stats.host_hits += 1
        names, stored = found
        self._copy(key, names, headers, stored, slot, generation, generation)
        return stored

    def expire(self, key: str, headers: Mapping[str, str], stored: StoredResponse) -> None:
        """Make the stored response that a request selects stale, for all workers."""
        stored.expire(self.clock())
        if self._host is not None:
            self._host.update(key, headers, stored)

    def remove_variant(self, key: str, headers: Mapping[str, str]) -> None:
        """Remove the stored response that a request selects, for all workers."""
        self.memory.remove_variant(key, headers)
        if self._host is not None:
            self._host.update(key, headers, None)

    def mark_used(self, key: str) -> None:
        """A copy is in use, so that its response is not evicted; called about once a second."""
        if self._host is not None:
            self._host.mark_used(key)

    # Fetches of other workers

    def claim(self, claimed: int) -> int:
        """Claim a fetch for this worker: 0 if another worker has claimed it, -1 if claims are not possible."""
        return self._host.claim(claimed) if self._host is not None else -1

    def is_claimed(self, claimed: int) -> bool:
        """Whether another worker fetches it."""
        return self._host is not None and self._host.is_claimed(claimed)

    def shorten(self, claimed: int, token: int) -> int:
        """Let the others wait only a little longer, because a long response is being received; returns the new token."""
        return self._host.shorten(claimed, token) if self._host is not None and token > 0 else token

    def release(self, claimed: int, token: int) -> None:
        """The fetch of a claim has ended."""
        if self._host is not None and token > 0:
            self._host.release(claimed, token)

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
        since = self.positions(key)
        try:
            found = await second.read(key, headers)
        except StoreError:
            self.stats.shared_errors += 1
            return None
        stored = self._trusted(key, found[1], since[0]) if found is not None else None
        if found is None or stored is None:
            self.stats.shared_misses += 1
            return None
        variants = self.memory.get(key)
        in_memory = variants.find(headers) if variants is not None else None
        if in_memory is not None and in_memory.age_s(0.0) <= stored.age_s(0.0):
            return None
        self.stats.shared_hits += 1
        self._put(key, found[0], headers, stored, since)
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

    # Streamed responses

    def record(
        self, response: StreamedResponse, on_end: Callable[[int, bytes], None], *, may_be_long: bool
    ) -> tuple[Recording, Reader] | None:
        """Begin to record a streamed response, and return its first reader; None if it cannot be stored.

        With `may_be_long` the length may be unknown.
        """
        max_bytes, length = self._table.max_entry_bytes, response.length
        if _EVENTS.match(response.content_type) or (length is None and not may_be_long):
            return None
        if length is not None and (
            length > max_bytes or self._recording_budget.bytes + length > self._recording_budget.max_bytes
        ):
            return None
        recording = Recording(
            response.chunks, length=length, max_bytes=max_bytes, budget=self._recording_budget, on_end=on_end
        )
        reader = recording.reader()
        if not self._recordings.start(recording.run()):
            return None
        return recording, reader

    def is_untouched(self, key: str, tags: Iterable[str], since: Positions) -> bool:
        """Whether no purge since these positions may cover a response that is being received."""
        here = self._purging.verdict(key, tags, since[0])
        return here is Verdict.UNTOUCHED and (self._host is None or self._host.positions(key) == (since[2], since[3]))

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
        await self._recordings.close()

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
            "host": self._host.snapshot() if self._host is not None else None,
            "unpublished_purges": self._purging.unpublished,
            "background_tasks": len(self._background),
            "recordings": len(self._recordings),
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

"""The response cache of a worker: what is kept, in memory and in the store, what is purged, what is counted.

`response_cache.py` is the layer that answers from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from gateway.cache.freshness import Defaults
from gateway.cache.memory_store import BoundedMemoryCache
from gateway.cache.purges import PURGES_MOST, Purge, PurgeLog, Purges, Verdict, covers, purge_of, split
from gateway.cache.second_tier import Kept, StoreCache, Variants, kept_of, variant_key
from gateway.cache.stored_response import Entry, Resource, Selection, selection
from gateway.config.policies import Cache
from gateway.metrics import Metric, Sample
from store import Store, StoreError

_log = logging.getLogger("peakgate")

POLL_S: Final = 1.0
# A worker that has not read the purges of others for so long does not trust the second tier.
POLL_TRUSTED_S: Final = 5.0
# How long an address whose answer could not be kept is not waited for by others.
UNCACHEABLE_S: Final = 10.0
UNCACHEABLE_MOST: Final = 4_096
# Refreshes and writes to the second tier that run beside the answers.
BEHIND_MOST: Final = 64
# More names than this in `Vary` are no selection any more.
NAMES_MOST: Final = 8
# The longest that the second tier keeps anything.
SHARED_MOST_S: Final = 86_400.0
# No resource takes more than this share of the memory, however many variants it has.
_RESOURCE_SHARE: Final = 8
_PURGED_AT_A_TIME: Final = 500

# Each request is counted under one of these, but for the last two, and for `uncacheable`, which is a miss as well.
_RESULTS: Final = (
    *("hit", "not_modified", "stale", "stale_if_error", "revalidated", "miss", "collapsed", "uncacheable", "bypass"),
    *("refreshed_behind", "refresh_failed"),
)


class Counts:
    """What the cache did, since the worker began. Plain attributes: the layer counts on its hot path."""

    __slots__ = (
        *_RESULTS,
        "purged",
        "shared_dropped",
        "shared_errors",
        "shared_hits",
        "shared_misses",
        "shared_writes",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    hit: int
    not_modified: int
    stale: int
    stale_if_error: int
    revalidated: int
    miss: int
    collapsed: int
    uncacheable: int
    bypass: int
    refreshed_behind: int
    refresh_failed: int
    purged: int
    shared_dropped: int
    shared_errors: int
    shared_hits: int
    shared_misses: int
    shared_writes: int


class ResponseCache:
    """What is kept of answers. One per worker; it outlives a reload (`update`).

    With a `store`, purges reach all workers within about two seconds, by `run`; with `table.shared`, what is kept is also
    kept there. `clock` is monotonic, `now` the wall clock, both in seconds.
    """

    def __init__(
        self,
        table: Cache,
        *,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.counts = Counts()
        self.clock = clock
        self.now = now
        self._memory: BoundedMemoryCache[Resource] = BoundedMemoryCache(table.memory_bytes, self._forget)
        # For hits: the entries of the memory cache, read at once.
        self.peek: Callable[[str], Resource | None] = self._memory.peek
        self._tagged: dict[str, set[str]] = {}
        # By host, what follows the target in the keys of that host, and how many have it.
        self._suffixes: dict[str, dict[str, int]] = {}
        self._uncacheable: OrderedDict[str, float] = OrderedDict()
        self._behind: set[asyncio.Task[None]] = set()
        # Purges here, by a count of our own: what was asked for before one and comes after it is not kept.
        self._purges = Purges()
        self.position = 0
        # Purges of all workers, by their positions in the log.
        self._log = PurgeLog(store) if store is not None else None
        self._logged = Purges()
        self._polled_at = float("-inf")
        # Those of ours that the log does not have yet, and those that it has.
        self._unpublished: dict[Purge, None] = {}
        self._own: set[int] = set()
        self._store = store
        self._second: StoreCache | None = None
        self.update(table)

    def update(self, table: Cache) -> None:
        """Take another table; what is kept stays, as far as it fits."""
        self._table = table
        self.is_on = table.on
        self.defaults = Defaults(table.stale_while_revalidate_s, table.stale_if_error_s)
        self._memory.resize(table.memory_bytes if table.on else 0)
        self._second = StoreCache(self._store) if table.on and table.shared and self._store is not None else None

    # Keeping

    def keep(
        self, key: str, names: tuple[str, ...], headers: Mapping[str, str], entry: Entry, *, since: tuple[int, int]
    ) -> bool:
        """Keep an answer for requests that have the same as `headers` in `names`; says whether it is kept.

        `since` is what `fetching` gave when the answer was asked for: what was purged meanwhile is not kept.
        """
        if len(entry.body) > self._table.entry_most_bytes or len(names) > NAMES_MOST:
            self.note_uncacheable(key)
            return False
        verdict = self._purges.verdict(key, entry.tags, since[0])
        if verdict is Verdict.VOID:
            return False
        if verdict is Verdict.STALE:
            entry.expire(self.clock())
        self._uncacheable.pop(key, None)
        names, selected = self._place(key, names, headers, entry)
        if self._second is not None and verdict is Verdict.UNTOUCHED:
            written = self._write_second(self._second, key, names, selected, entry, position=since[1])
            if not self.run_behind(written):
                self.counts.shared_dropped += 1
        return True

    def fetching(self) -> tuple[int, int]:
        """Where purges stand as something is asked for; to be given to `keep` with what came."""
        return self.position, self._log.position if self._log is not None else 0

    def _place(
        self, key: str, names: tuple[str, ...], headers: Mapping[str, str], entry: Entry
    ) -> tuple[tuple[str, ...], Selection]:
        # Taken out and put in again: the indexes follow what leaves and what comes.
        resource = self._memory.drop(key) or Resource(names)
        if resource.names != names:
            # An origin that varies by this once and by that another time varies by both.
            both = tuple(sorted({*resource.names, *names}))
            names = both if len(both) <= NAMES_MOST else names
            if resource.names != names:
                resource = Resource(names)
        selected = selection(names, headers)
        resource.add(selected, entry, most_bytes=self._table.memory_bytes // _RESOURCE_SHARE)
        self._store_again(key, resource)
        return names, selected

    def _store_again(self, key: str, resource: Resource) -> None:
        self._memory.place(key, resource)
        if self._memory.peek(key) is not resource:
            return
        for tag in resource.tags():
            self._tagged.setdefault(tag, set()).add(key)
        suffixes = self._suffixes.setdefault(split(key)[1], {})
        suffix = key.partition("\n")[2]
        suffixes[suffix] = suffixes.get(suffix, 0) + 1

    def _forget(self, key: str, resource: Resource) -> None:
        """Something has left the memory: so it leaves the indexes."""
        for tag in resource.tags():
            keys = self._tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[tag]
        host, suffix = split(key)[1], key.partition("\n")[2]
        suffixes = self._suffixes[host]
        suffixes[suffix] -= 1
        if not suffixes[suffix]:
            del suffixes[suffix]
            if not suffixes:
                del self._suffixes[host]

    def is_uncacheable(self, key: str, *, is_personal: bool = False) -> bool:
        """Whether the last answer of the address could not be kept, so that nobody should wait for another's."""
        until = self._uncacheable.get(_personal(key) if is_personal else key)
        return until is not None and self.clock() < until

    def note_uncacheable(self, key: str, *, is_personal: bool = False) -> None:
        """Remember for a while that the address answers what cannot be kept; what was kept of it is outdated.

        `is_personal`: to those who come with cookies or credentials. What others are answered may be kept nevertheless.
        """
        self.counts.uncacheable += 1
        if is_personal:
            key = _personal(key)
        else:
            self._memory.drop(key)
        self._uncacheable.pop(key, None)
        self._uncacheable[key] = self.clock() + UNCACHEABLE_S
        if len(self._uncacheable) > UNCACHEABLE_MOST:
            self._uncacheable.popitem(last=False)

    # The second tier

    async def load(self, key: str, headers: Mapping[str, str]) -> Entry | None:
        """What the second tier has for a request, if it is younger than what is in memory; None, too, when the store fails."""
        second, log = self._second, self._log
        if second is None or log is None or self.clock() > self._polled_at + POLL_TRUSTED_S:
            return None
        since = self.position
        try:
            found: Kept | Variants | None = await second.get(key)
            names: tuple[str, ...] = ()
            if isinstance(found, Variants):
                names = found.names
                found = await second.get(variant_key(key, selection(names, headers)))
        except StoreError:
            self.counts.shared_errors += 1
            return None
        entry = self._trusted(key, found, since) if isinstance(found, Kept) else None
        if entry is None:
            self.counts.shared_misses += 1
            return None
        here = self._memory.peek(key)
        known = here.find(headers) if here is not None else None
        if known is not None and known.age(0.0) <= entry.age(0.0):
            return None
        self.counts.shared_hits += 1
        self._place(key, names, headers, entry)
        return entry

    def _trusted(self, key: str, kept: Kept, since: int) -> Entry | None:
        """The entry, unless something purged it after it was asked for."""
        entry = kept.entry(clock=self.clock(), now=self.now())
        verdict = max(
            self._logged.verdict(key, entry.tags, kept.head.position), self._purges.verdict(key, entry.tags, since)
        )
        for purge in self._unpublished:
            if covers(purge, key, entry.tags):
                verdict = max(verdict, Verdict.STALE if purge.soft else Verdict.VOID)
        if verdict is Verdict.VOID:
            return None
        if verdict is Verdict.STALE:
            entry.expire(self.clock())
        return entry

    async def _write_second(
        self, second: StoreCache, key: str, names: tuple[str, ...], selected: Selection, entry: Entry, *, position: int
    ) -> None:
        kept = kept_of(entry, clock=self.clock(), now=self.now(), position=position)
        stale_s = max(entry.terms.stale_while_revalidate_s, entry.terms.stale_if_error_s)
        ttl_s = min(entry.terms.lifetime_s + stale_s - entry.age(self.clock()), SHARED_MOST_S)
        if ttl_s <= 0:
            return
        try:
            if names:
                await second.set(key, Variants(names), ttl=SHARED_MOST_S)
                await second.set(variant_key(key, selected), kept, ttl=ttl_s)
            else:
                await second.set(key, kept, ttl=ttl_s)
            self.counts.shared_writes += 1
        except StoreError:
            self.counts.shared_errors += 1

    # Purging

    async def purge(
        self, *, url: str | None = None, prefix: str | None = None, tag: str | None = None, soft: bool = False
    ) -> int:
        """Forget one address, all below a prefix, or all with a tag; `soft` makes them stale instead.

        Says how many answers of this worker it was. The other workers follow within about two seconds; when the store is
        away, as soon as it is back, and until then nothing purged is taken from the second tier. Raises `ValueError`
        unless exactly one is named.
        """
        purge = purge_of(url=url, prefix=prefix, tag=tag, soft=soft)
        if self._log is not None:
            self._unpublished[purge] = None
        count = await self._apply_by_and_by(purge)
        await self._publish([purge])
        return count

    def invalidate(self, key: str, addresses: Iterable[str]) -> None:
        """An unsafe request has changed something: forget these addresses of the host of `key` (RFC 9111, 4.4)."""
        host = split(key)[1]
        for address in addresses:
            purge = Purge("url", address, host)
            self._apply(purge)
            if self._log is not None:
                # Told to the others with the next poll: a thousand orders a second are not a thousand purges.
                self._unpublished[purge] = None
        if len(self._unpublished) > PURGES_MOST:
            self._unpublished = {Purge("prefix", "/"): None}

    def _apply(self, purge: Purge) -> None:
        self._note(purge)
        for key in self._keys(purge):
            self._apply_to(key, purge)

    async def _apply_by_and_by(self, purge: Purge) -> int:
        """The same for what may be all there is, without holding up shoppers for more than a few milliseconds."""
        self._note(purge)
        count = 0
        for done, key in enumerate(self._keys(purge), 1):
            count += self._apply_to(key, purge)
            if done % _PURGED_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return count

    def _note(self, purge: Purge) -> None:
        self.position += 1
        self._purges.note(purge, self.position)

    def _keys(self, purge: Purge) -> list[str]:
        if purge.kind == "tag":
            return [*self._tagged.get(purge.value, ())]
        if purge.kind == "prefix":
            # A key begins with its target.
            keys = [key for key in self._memory.entries if key.startswith(purge.value)]
            return [key for key in keys if covers(purge, key, ())] if purge.host else keys
        hosts = [purge.host] if purge.host else [*self._suffixes]
        keys = [
            f"{purge.value}\n{suffix}" if suffix else purge.value
            for host in hosts
            for suffix in self._suffixes.get(host, ())
        ]
        return [key for key in keys if key in self._memory.entries]

    def _apply_to(self, key: str, purge: Purge) -> int:
        resource = self._memory.peek(key)
        if resource is None:
            return 0
        entries = [entry for entry in resource.entries.values() if purge.kind != "tag" or purge.value in entry.tags]
        if purge.soft:
            for entry in entries:
                entry.expire(self.clock())
            self.counts.purged += len(entries)
            return len(entries)
        self._memory.drop(key)
        if len(entries) < len(resource.entries):
            resource.remove_tagged(purge.value)
            self._store_again(key, resource)
        self.counts.purged += len(entries)
        return len(entries)

    async def _publish(self, purges: Iterable[Purge]) -> None:
        """Tell the other workers; what cannot be told now is told with a later poll."""
        if self._log is None:
            return
        for purge in purges:
            try:
                position = await self._log.publish(purge)
            except StoreError:
                self.counts.shared_errors += 1
                return
            self._logged.note(purge, position)
            self._own.add(position)
            self._unpublished.pop(purge, None)

    async def poll(self) -> None:
        """Tell and learn purges, once."""
        if self._log is None:
            return
        await self._publish([*self._unpublished])
        try:
            news = await self._log.read()
        except StoreError:
            self.counts.shared_errors += 1
            return
        self._logged.floor = max(self._logged.floor, self._log.floor)
        self._polled_at = self.clock()
        for position, purge in news:
            self._logged.note(purge, position)
            if position in self._own:
                self._own.remove(position)
            else:
                await self._apply_by_and_by(purge)

    # Running

    async def run(self) -> None:
        """Follow the purges of other workers, until cancelled."""
        while True:
            try:
                await self.poll()
            except Exception:  # noqa: BLE001 - without the purges of others this worker would serve what is void
                _log.exception("purges could not be followed")
            await asyncio.sleep(POLL_S)

    def run_behind(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run something beside the answers, until it ends or the cache closes; says whether there was room for it."""
        if len(self._behind) >= BEHIND_MOST:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        return True

    async def close(self) -> None:
        """End what runs beside."""
        for task in [*self._behind]:
            task.cancel()
        for task in [*self._behind]:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # Being looked at

    def snapshot(self) -> Mapping[str, Any]:
        """Sizes and counts."""
        entries = self._memory.entries
        return {
            "on": self.is_on,
            "entries": len(entries),
            "bytes": entries.bytes,
            "most_bytes": entries.most_bytes,
            "evictions": entries.evictions,
            "shared": self._second is not None,
            "purges_not_yet_told": len(self._unpublished),
            **{name: getattr(self.counts, name) for name in self.counts.__slots__},
        }

    def metrics(self) -> Iterable[Metric]:
        """The same for machines."""
        entries, counts = self._memory.entries, self.counts
        yield Metric(
            "peakgate_cache_results_total",
            "What the response cache did, by result.",
            "counter",
            [Sample({"result": name}, getattr(counts, name)) for name in _RESULTS],
        )
        yield _plain("peakgate_cache_entries", "Addresses with kept answers.", "gauge", len(entries))
        yield _plain("peakgate_cache_bytes", "Memory counted for kept answers.", "gauge", entries.bytes)
        yield _plain("peakgate_cache_evictions_total", "Addresses evicted for others.", "counter", entries.evictions)
        yield _plain("peakgate_cache_purged_total", "Answers purged.", "counter", counts.purged)
        yield Metric(
            "peakgate_cache_shared_total",
            "What the second tier of the response cache did, by result.",
            "counter",
            [
                Sample({"result": name}, getattr(counts, f"shared_{name}"))
                for name in ("hits", "misses", "writes", "errors", "dropped")
            ],
        )


def _personal(key: str) -> str:
    return key + "\n\npersonal"


def _plain(name: str, text: str, kind: Any, value: float) -> Metric:
    return Metric(name, text, kind, [Sample({}, value)])

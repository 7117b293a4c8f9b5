"""The first tier of the response cache: stored responses in memory, with indexes by tag and host for purges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.cache.memory_store import BoundedMemoryCache
from gateway.cache.model import Selection
from gateway.cache.purge import Purge, covers, target_and_host
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import Variants, selection

# A `Vary` with more names selects nothing useful, and its response is not stored.
MAX_VARY_NAMES: Final = 8
# One address takes at most this share of the memory, however many variants it has.
_ADDRESS_SHARE: Final = 8


class MemoryTier:
    """Variants by key. `get` is synchronous, for hits."""

    def __init__(self, max_bytes: int) -> None:
        self._cache: BoundedMemoryCache[Variants] = BoundedMemoryCache(max_bytes, self._unindex)
        self._entries = self._cache.entries
        # The dict's own method: one call less for each hit.
        self.get: Callable[[str], Variants | None] = self._entries.get
        self._keys_by_tag: dict[str, set[str]] = {}
        # By host: the part of its keys after the target, and how many keys have it.
        self._suffixes_by_host: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Memory in use, as counted."""
        return self._entries.bytes

    @property
    def max_bytes(self) -> int:
        """The bound of `bytes`."""
        return self._entries.max_bytes

    @property
    def evictions(self) -> int:
        """Addresses evicted so far."""
        return self._entries.evictions

    def resize(self, max_bytes: int) -> None:
        """Change the bound, and evict down to it."""
        self._entries.resize(max_bytes)

    def put(
        self, key: str, names: tuple[str, ...], headers: Mapping[str, str], stored: StoredResponse
    ) -> tuple[tuple[str, ...], Selection]:
        """Store a response for requests that equal `headers` in the fields `names`; returns the names and selection used."""
        # Removed and stored again, so that the indexes follow.
        variants = self.remove(key) or Variants(names)
        if variants.names != names:
            # An origin that varies by one field now and by another later varies by both.
            both = tuple(sorted({*variants.names, *names}))
            if len(both) <= MAX_VARY_NAMES:
                names = both
                variants = variants if variants.names == names else variants.widened(names)
            else:
                variants = Variants(names)
        selected = selection(names, headers)
        variants.add(selected, stored, max_bytes=self.max_bytes // _ADDRESS_SHARE)
        self._index(key, variants)
        return names, selected

    def remove(self, key: str) -> Variants | None:
        """Remove all variants of a key."""
        variants: Variants | None = self._entries.pop(key)
        return variants

    def remove_variant(self, key: str, headers: Mapping[str, str]) -> None:
        """Remove the variant that a request selects; the others stay."""
        variants = self.remove(key)
        if variants is not None and variants.discard(selection(variants.names, headers)):
            self._index(key, variants)

    # Purges

    def keys_of(self, purge: Purge) -> list[str]:
        """The keys that a purge covers."""
        if purge.kind == "tag":
            return [*self._keys_by_tag.get(purge.value, ())]
        if purge.kind == "prefix":
            # A key begins with its target.
            keys = [key for key in self._entries if key.startswith(purge.value)]
            return [key for key in keys if covers(purge, key, ())] if purge.host else keys
        hosts = [purge.host] if purge.host else [*self._suffixes_by_host]
        suffixes = [suffix for host in hosts for suffix in self._suffixes_by_host.get(host, ())]
        keys = [f"{purge.value}\n{suffix}" if suffix else purge.value for suffix in suffixes]
        return [key for key in keys if key in self._entries]

    def purge(self, key: str, purge: Purge, now: float) -> int:
        """Apply a purge to a key; returns the number of responses purged."""
        variants = self.get(key)
        if variants is None:
            return 0
        purged = [
            stored for stored in variants.by_selection.values() if purge.kind != "tag" or purge.value in stored.tags
        ]
        if purge.soft:
            for stored in purged:
                stored.expire(now)
            return len(purged)
        self.remove(key)
        if len(purged) < len(variants.by_selection):
            variants.remove_tagged(purge.value)
            self._index(key, variants)
        return len(purged)

    # Indexes

    def _index(self, key: str, variants: Variants) -> None:
        self._entries[key] = variants
        if self.get(key) is not variants:
            return  # too large
        for tag in variants.tags():
            self._keys_by_tag.setdefault(tag, set()).add(key)
        suffixes = self._suffixes_by_host.setdefault(target_and_host(key)[1], {})
        suffix = key.partition("\n")[2]
        suffixes[suffix] = suffixes.get(suffix, 0) + 1

    def _unindex(self, key: str, variants: Variants) -> None:
        """An entry has left the memory."""
        for tag in variants.tags():
            keys = self._keys_by_tag.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._keys_by_tag[tag]
        host, suffix = target_and_host(key)[1], key.partition("\n")[2]
        suffixes = self._suffixes_by_host[host]
        suffixes[suffix] -= 1
        if not suffixes[suffix]:
            del suffixes[suffix]
            if not suffixes:
                del self._suffixes_by_host[host]

"""The stored responses that all workers of a host share. A worker's own memory holds copies of them only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.cache.host_format import (
    decode_stored,
    decode_text,
    encode_head,
    encode_text,
    encode_variant,
    names_of,
)
from gateway.cache.host_memory import MAX_PURGE_BYTES, SLOTS, HostMemory, LockUnavailable, Record, hash_of
from gateway.cache.memory_tier import MAX_VARY_NAMES
from gateway.cache.purge import Purge, covers, target_and_host
from gateway.cache.purge_history import PurgeHistory, Verdict
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import MAX_VARIANTS, selection

# Records looked at by a purge before the lock is released.
SCAN_BATCH: Final = 500
# How long another worker is waited for that fetches the same; a longer fetch is made by each worker for itself.
CLAIM_S: Final = 2.0
# And how long after the head of a response that is long.
STREAM_CLAIM_S: Final = 0.25
# All variants of an address take at most this share of the memory.
_ADDRESS_SHARE: Final = 8
_EVERYTHING: Final = Purge("prefix", "/")
_PURGE_DECODER: Final = msgspec.msgpack.Decoder(Purge)


class Stored:
    """A response was stored: the fields by which its address varies, its slot, and the slot's generation before and after."""

    __slots__ = ("before", "generation", "names", "slot")

    def __init__(self, names: tuple[str, ...], slot: int, before: int, generation: int) -> None:
        self.names = names
        self.slot = slot
        self.before = before
        self.generation = generation


class HostTier:
    """One worker's view. Without the lock nothing is found and nothing stored, and purges void all responses."""

    def __init__(self, memory: HostMemory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = memory
        self._clock = clock
        # Of all workers of this host.
        self.id = memory.id
        self.generations: Any = memory.generations
        self._purges = PurgeHistory()
        self._purges_read = memory.purge_position
        self.lockouts = 0

    # Generations

    @staticmethod
    def slot_of(key: str) -> int:
        """The slot of all keys with the target of this one."""
        return hash_of(target_and_host(key)[0]) % SLOTS

    def generation(self, slot: int) -> int:
        """The current generation of a slot; read before a response is loaded."""
        generation: int = self.generations[slot]
        return generation

    def positions(self, key: str) -> tuple[int, int]:
        """The current position of purges, and the guard of the key; taken before its response is requested."""
        return self._memory.purge_position, self._memory.guard(self.slot_of(key))

    # Responses

    def load(self, key: str, headers: Mapping[str, str]) -> tuple[tuple[str, ...], StoredResponse] | None:
        """A copy of the response that a request selects, and the request fields by which its address varies."""
        memory = self._memory
        target_hash = hash_of(target_and_host(key)[0])
        if not memory.may_have(target_hash):
            return None
        try:
            with memory.lock():
                found = self._select(target_hash, encode_text(key), headers)
        except LockUnavailable:
            self.lockouts += 1
            return None
        if found is None:
            return None
        names, record = found
        return names, decode_stored(record.head, record.body)

    def _select(
        self, target_hash: int, key: bytes, headers: Mapping[str, str]
    ) -> tuple[tuple[str, ...], Record] | None:
        """The response that a request selects, and the request fields by which its address varies."""
        memory = self._memory
        positions = memory.find(target_hash, key=key)
        if not positions:
            return None
        # The latest varies by all fields by which the address varies.
        names = names_of(memory.variant(positions[0]))
        wanted = encode_variant(names, selection(names, headers))
        for position in positions:
            if _selects(memory.variant(position), wanted, names, headers):
                memory.mark_used(position)
                return names, memory.read(position)
        return None

    def put(
        self,
        key: str,
        names: tuple[str, ...],
        headers: Mapping[str, str],
        stored: StoredResponse,
        *,
        since: tuple[int, int],
    ) -> Stored | None:
        """Store a response.

        None if it is not stored: purged since the positions `since`, too large, or another process holds the lock.
        """
        memory = self._memory
        target_hash = hash_of(target_and_host(key)[0])
        slot = target_hash % SLOTS
        try:
            with memory.lock():
                verdict = self._verdict(key, stored, since, slot)
                if verdict is Verdict.VOID:
                    return None
                if verdict is Verdict.STALE:
                    stored.expire(self._clock())
                names = self._replace(target_hash, encode_text(key), names, headers, len(stored.body))
                variant = encode_variant(names, selection(names, headers))
                before = self.generations[slot]
                is_stored = memory.append(
                    target_hash, encode_text(key), variant, encode_head(stored), stored.body, since=since[0]
                )
                # Making room for it may have evicted a record of the same slot.
                before = before if self.generations[slot] == before else -1
                generation = memory.outdate(slot)
        except LockUnavailable:
            self.lockouts += 1
            return None
        if memory.guard(slot) != since[1]:
            # Invalidated meanwhile by a process that could not get the lock.
            self.remove(key)
            memory.outdate(slot)
            return None
        return Stored(names, slot, before, generation) if is_stored else None

    def _replace(
        self, target_hash: int, key: bytes, names: tuple[str, ...], headers: Mapping[str, str], new_bytes: int
    ) -> tuple[str, ...]:
        """Remove the records that a new response replaces; returns the names by which the address varies.

        Those stored before it varied by so many stay, for requests without the new fields (`Variants.widened`).
        """
        memory = self._memory
        positions = memory.find(target_hash, key=key)
        if not positions:
            return names
        variants = {position: memory.variant(position) for position in positions}
        both = tuple(sorted({*names, *names_of(variants[positions[0]])}))
        if len(both) <= MAX_VARY_NAMES:
            names = both
        known = frozenset(names)
        wanted = encode_variant(names, selection(names, headers))
        replaced: set[int] = set()
        left_bytes = memory.max_bytes // _ADDRESS_SHARE - new_bytes
        for count, position in enumerate(positions, 1):
            left_bytes -= memory.size_of(position)
            variant = variants[position]
            is_outdated = not known.issuperset(names_of(variant)) or _selects(variant, wanted, names, headers)
            if is_outdated or count >= MAX_VARIANTS or left_bytes < 0:
                replaced.add(position)
        memory.remove(target_hash, replaced)
        return names

    def remove(self, key: str) -> None:
        """Remove all responses of a key."""
        memory = self._memory
        target_hash = hash_of(target_and_host(key)[0])
        if not memory.may_have(target_hash):
            return
        try:
            with memory.lock():
                positions = memory.find(target_hash, key=encode_text(key))
                if positions:
                    memory.remove(target_hash, {*positions})
                    memory.outdate(target_hash % SLOTS)
        except LockUnavailable:
            self._void_everything()

    def update(self, key: str, headers: Mapping[str, str], stored: StoredResponse | None) -> None:
        """Write the freshness of the response that a request selects; None removes the response."""
        memory = self._memory
        target_hash = hash_of(target_and_host(key)[0])
        try:
            with memory.lock():
                found = self._select(target_hash, encode_text(key), headers)
                if found is None:
                    return
                position = found[1].position
                if stored is None or not memory.rewrite_head(position, encode_head(stored)):
                    memory.remove(target_hash, {position})
                memory.outdate(target_hash % SLOTS)
        except LockUnavailable:
            self._void_everything()

    def mark_used(self, key: str) -> None:
        """Give the responses of a key a second chance."""
        memory = self._memory
        try:
            with memory.lock():
                for position in memory.find(hash_of(target_and_host(key)[0]), key=encode_text(key)):
                    memory.mark_used(position)
        except LockUnavailable:
            self.lockouts += 1

    # Purges

    def _verdict(self, key: str, stored: StoredResponse, since: tuple[int, int], slot: int) -> Verdict:
        memory = self._memory
        if memory.guard(slot) != since[1]:
            return Verdict.VOID
        if memory.purge_position == since[0]:
            return Verdict.UNTOUCHED
        self._read_purges()
        return self._purges.verdict(key, stored.tags, since[0])

    def _read_purges(self) -> None:
        encoded = self._memory.purges_since(self._purges_read)
        latest = self._memory.purge_position
        if encoded is None:
            self._purges.add(_EVERYTHING, latest)
        else:
            for position, purge in enumerate(encoded, self._purges_read + 1):
                self._purges.add(_PURGE_DECODER.decode(purge), position)
        self._purges_read = latest

    def invalidate(self, purge: Purge) -> int:
        """Purge an address; in force for all workers on return. Returns the number of responses purged."""
        memory = self._memory
        target_hash = hash_of(purge.value)
        slot = target_hash % SLOTS
        memory.void_fetches(slot)
        count = 0
        try:
            if memory.may_have(target_hash):
                with memory.lock():
                    count = self._purge_records([(target_hash, each) for each in memory.find(target_hash)], purge)
        except LockUnavailable:
            self._void_everything()
        memory.outdate(slot)
        return count

    def _purge_records(self, positions: Iterable[tuple[int, int]], purge: Purge) -> int:
        memory = self._memory
        records = [(target_hash, memory.read(position, with_body=False)) for target_hash, position in positions]
        return self._purge_covered(records, purge)

    def _purge_covered(self, records: Iterable[tuple[int, Record]], purge: Purge) -> int:
        memory = self._memory
        count = 0
        tag = encode_text(purge.value) if purge.kind == "tag" else b""
        for target_hash, record in records:
            # Most heads do not have the tag anywhere, and need not be decoded.
            if tag and tag not in record.head:
                continue
            stored = decode_stored(record.head, b"") if tag or purge.soft else None
            if not covers(purge, decode_text(record.key), stored.tags if stored is not None else ()):
                continue
            if purge.soft and stored is not None and self._clock() >= stored.fresh_until:
                # Stale already: another worker was asked for the same.
                continue
            count += 1
            if not (purge.soft and stored is not None and self._expire(record, stored)):
                memory.remove(target_hash, {record.position})
            memory.outdate(target_hash % SLOTS)
        return count

    def _expire(self, record: Record, stored: StoredResponse) -> bool:
        stored.expire(max(self._clock(), stored.born_at))
        return self._memory.rewrite_head(record.position, encode_head(stored))

    def begin_purge(self, purge: Purge) -> int:
        """Void the fetches in progress that a purge covers; returns its position for `purge_batch`."""
        encoded = _encode_purge(purge)
        try:
            with self._memory.lock():
                return self._memory.add_purge(encoded)
        except LockUnavailable:
            self._void_everything()
            return self._memory.purge_position

    def purge_batch(self, purge: Purge, start: int, position: int) -> tuple[int, int]:
        """Purge a part of the responses that were requested before `position`.

        Returns the number purged, and the start of the next batch: 0 at the end.
        """
        memory = self._memory
        try:
            with memory.lock():
                records, end = memory.scan(start, SCAN_BATCH)
                older = [(target_hash, record) for target_hash, record in records if record.since < position]
                return self._purge_covered(older, purge), end
        except LockUnavailable:
            self._void_everything()
            return 0, 0

    def _void_everything(self) -> None:
        self.lockouts += 1
        self._memory.outdate_everything()

    # Claims

    def claim(self, key_hash: int) -> int:
        """See `HostMemory.claim`."""
        return self._memory.claim(key_hash, CLAIM_S)

    def is_claimed(self, key_hash: int) -> bool:
        """Whether another worker fetches it."""
        return self._memory.is_claimed(key_hash)

    def shorten(self, key_hash: int, token: int) -> int:
        """Let the claim expire soon; returns its new token."""
        return self._memory.shorten(key_hash, token, STREAM_CLAIM_S)

    def release(self, key_hash: int, token: int) -> None:
        """The fetch has ended."""
        self._memory.release(key_hash, token)

    # Counts

    def snapshot(self) -> Mapping[str, Any]:
        """Counts of the whole host, besides `lockouts`."""
        memory = self._memory
        return {
            "responses": memory.records,
            "bytes": memory.bytes,
            "max_bytes": memory.max_bytes,
            "evictions": memory.evictions,
            "lockouts": self.lockouts,
        }


def _selects(variant: bytes, wanted: bytes, names: tuple[str, ...], headers: Mapping[str, str]) -> bool:
    """Whether a request, which selects the variant `wanted` of `names`, selects one that may vary by fewer fields."""
    if variant == wanted:
        return True
    own = names_of(variant)
    if own == names or (variant and encode_variant(own, selection(own, headers)) != variant):
        return False
    return all(name in own or name not in headers for name in names)


def _encode_purge(purge: Purge) -> bytes:
    """A purge of at most `MAX_PURGE_BYTES`; a longer one, or one that is no text, purges too much rather than too little."""
    try:
        encoded = msgspec.msgpack.encode(purge)
    except UnicodeEncodeError:
        encoded = msgspec.msgpack.encode(_EVERYTHING)
    return encoded if len(encoded) <= MAX_PURGE_BYTES else msgspec.msgpack.encode(_EVERYTHING)

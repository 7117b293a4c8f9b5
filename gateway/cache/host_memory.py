"""Memory that all workers of a host share: records in a ring, with an index, generations and a lock.

The supervisor makes a `HostRegion` and forks its children, which inherit it; so a worker that restarts finds the records.
Each process works on it through a `HostMemory` of its own.

Records are appended to a ring; the oldest is evicted, except that one that was used since eviction last met it is
appended once more (second chance). A bucket of the index is a chain of records from new to old, which ends where the ring
was overwritten. A generation is a word that changes to a value never used before when a record of its slot changes: a
worker compares it at every hit on a copy of its own, with one read and without the lock.

Everything else happens under a lock of the operating system, which ends with its process. A process that dies while it
holds the lock leaves `_DIRTY` set, and the next one empties the memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import secrets
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SLOTS: Final = 1 << 16
_CLAIMS: Final = 1 << 12
_PURGES: Final = 256
_PURGE_BYTES: Final = 1024
_WORD: Final = 8

# Words of the region: its state, then the tables.
_DIRTY: Final = 0
_HEAD: Final = 1
_TAIL: Final = 2
_PROCESSES: Final = 3
_PURGED: Final = 4
_EPOCH: Final = 5
_RECORDS: Final = 6
_BYTES: Final = 7
_EVICTIONS: Final = 8
_GENERATIONS: Final = 64
_GUARDS: Final = _GENERATIONS + SLOTS
_BUCKETS: Final = _GUARDS + SLOTS
_CLAIM_TABLE: Final = _BUCKETS + SLOTS
_WORDS: Final = _CLAIM_TABLE + _CLAIMS
_PURGES_AT: Final = _WORDS * _WORD
_DATA_AT: Final = _PURGES_AT + _PURGES * _PURGE_BYTES

# Size, state, whether it was used, the next of the chain, hash of the target, purges before it, epoch; then the lengths
# of key, variant, head and body, which follow.
_HEADER: Final = struct.Struct("<IBBHQQQQIIII")
_SIZE_AND_STATE: Final = struct.Struct("<IB")
_NEXT: Final = struct.Struct("<Q")
_PURGE_HEADER: Final = struct.Struct("<I")
_STATE_AT: Final = 4
_USED_AT: Final = 5
_NEXT_AT: Final = 8
_DEAD: Final = 0
_LIVE: Final = 1
_FILLER: Final = 2
# 0 is the end of a chain.
_FIRST: Final = 8
# One record takes at most this share of the ring, and those that get a second chance for one new record the other.
_RECORD_SHARE: Final = 2
_SPARED_SHARE: Final = 8
_HASH_MASK: Final = (1 << 62) - 1
# Numbers of a process that differ from those of all others; 62 bits are one machine word in compiled modules.
_NUMBER_BITS: Final = 40

# A lock that is not released in time belongs to a process that was stopped. The cache does without for a while.
LOCK_TIMEOUT_S: Final = 0.05
_LOCK_RETRY_S: Final = 0.0002
LOCKED_OUT_S: Final = 1.0
# A claim names its key by so many bits of the hash, and expires.
_CLAIM_TAG_BITS: Final = 20
_CLAIM_TICK_S: Final = 0.01


class LockUnavailable(Exception):
    """Another process holds the lock for too long."""


class HostRegion:
    """The memory and the lock, made before the workers are forked. `data_bytes` is the size of the ring."""

    def __init__(self, data_bytes: int) -> None:
        self.data_bytes = max(data_bytes, 64 * 1024) // _WORD * _WORD
        self.memory = mmap.mmap(-1, _DATA_AT + self.data_bytes + _HEADER.size)
        self.id = secrets.token_hex(8)
        # Locks of POSIX belong to a process, also where the descriptor is inherited.
        self.lock_file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the region

    def close(self) -> None:
        """Release the lock file; the memory goes with its last process."""
        self.lock_file.close()


class Record:
    """A record of the ring. `target_hash` finds it, `key` and `variant` name it."""

    __slots__ = ("body", "head", "key", "position", "since", "variant")

    def __init__(  # noqa: PLR0917 - made in one place
        self, position: int, key: bytes, variant: bytes, head: bytes, body: bytes, since: int
    ) -> None:
        self.position = position
        self.key = key
        self.variant = variant
        self.head = head
        self.body = body
        self.since = since


class HostMemory:
    """The view of one process. Methods that need the lock say so."""

    def __init__(self, region: HostRegion) -> None:
        self.id = region.id
        self._memory = region.memory
        # Its lock file stays open with it.
        self._region = region
        self._lock_fd = region.lock_file.fileno()
        self._size = region.data_bytes
        view = memoryview(region.memory)
        self._words = view[: _WORDS * _WORD].cast("Q")
        # Read at every hit.
        self.generations = view[_GENERATIONS * _WORD : _GUARDS * _WORD].cast("Q")
        self._locked_out_until = 0.0
        self._last_number = time.monotonic_ns() % (1 << _NUMBER_BITS)
        with self.lock():
            if not self._words[_HEAD]:
                self._words[_HEAD] = self._words[_TAIL] = _FIRST
            self._words[_PROCESSES] += 1
            number = self._words[_PROCESSES]
        self._process = number
        self._last_number = number << _NUMBER_BITS

    # The lock

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock. Raises `LockUnavailable` instead of blocking the event loop for long."""
        self._acquire()
        words = self._words
        try:
            if words[_DIRTY]:
                self._empty()
            words[_DIRTY] = 1
            yield
            words[_DIRTY] = 0
        finally:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        try:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self._wait_for_lock()

    def _wait_for_lock(self) -> None:
        started_at = time.monotonic()
        while (now := time.monotonic()) < started_at + LOCK_TIMEOUT_S and now >= self._locked_out_until:
            time.sleep(_LOCK_RETRY_S)
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        if now >= self._locked_out_until:
            self._locked_out_until = now + LOCKED_OUT_S
        raise LockUnavailable

    def _empty(self) -> None:
        """Drop all records: a process ended while it changed them."""
        words = self._words
        words[_TAIL] = words[_HEAD]
        words[_RECORDS] = words[_BYTES] = 0
        self.outdate_everything()

    # Generations

    def new_number(self) -> int:
        """A number that no process has used before."""
        self._last_number += 1
        return self._last_number

    def outdate(self, slot: int) -> int:
        """Make all copies of this slot in all processes a miss; returns the new generation. Needs no lock."""
        number = self.generations[slot] = self.new_number()
        return number

    def outdate_everything(self) -> None:
        """Make all copies in all processes a miss, and void all records and fetches in progress. Needs no lock."""
        number = self.new_number()
        self._words[_EPOCH] = number
        table = number.to_bytes(_WORD, sys.byteorder) * (2 * SLOTS)
        self._memory[_GENERATIONS * _WORD : _BUCKETS * _WORD] = table

    def guard(self, slot: int) -> int:
        """A word that changes when an address of this slot is invalidated. Needs no lock."""
        return self._words[_GUARDS + slot]

    def void_fetches(self, slot: int) -> None:
        """Change the guard of a slot. Needs no lock."""
        self._words[_GUARDS + slot] = self.new_number()

    # Records

    def may_have(self, target_hash: int) -> bool:
        """Whether the index has anything in the bucket of a target. Needs no lock."""
        words = self._words
        return words[_BUCKETS + target_hash % SLOTS] >= words[_TAIL]

    def find(self, target_hash: int, *, key: bytes | None = None) -> list[int]:
        """The positions of live records of a target, of one key or of all, the newest first. Needs the lock."""
        return [position for position, _ in self._chain(target_hash, key)]

    def _chain(self, target_hash: int, key: bytes | None) -> list[tuple[int, int]]:
        """Positions, each with the place of the link to it."""
        words, memory = self._words, self._memory
        tail, epoch = words[_TAIL], words[_EPOCH]
        link = (_BUCKETS + target_hash % SLOTS) * _WORD
        found: list[tuple[int, int]] = []
        while (position := _NEXT.unpack_from(memory, link)[0]) >= tail:
            at = self._at(position)
            fields = _HEADER.unpack_from(memory, at)
            start = at + _HEADER.size
            if (
                fields[1] == _LIVE
                and fields[5] == target_hash
                and fields[7] == epoch
                and (key is None or memory[start : start + fields[8]] == key)
            ):
                found.append((position, link))
            link = at + _NEXT_AT
        return found

    def _at(self, position: int) -> int:
        return _DATA_AT + position % self._size

    def variant(self, position: int) -> bytes:
        """The variant of a record. Needs the lock."""
        at = self._at(position)
        fields = _HEADER.unpack_from(self._memory, at)
        start = at + _HEADER.size + fields[8]
        return self._memory[start : start + fields[9]]

    def size_of(self, position: int) -> int:
        """Bytes of a record. Needs the lock."""
        size: int = _SIZE_AND_STATE.unpack_from(self._memory, self._at(position))[0]
        return size

    def read(self, position: int, *, with_body: bool = True) -> Record:
        """A record. Needs the lock."""
        at = self._at(position)
        fields = _HEADER.unpack_from(self._memory, at)
        parts: list[bytes] = []
        start = at + _HEADER.size
        for length in fields[8:] if with_body else fields[8:11]:
            parts.append(self._memory[start : start + length])
            start += length
        return Record(position, parts[0], parts[1], parts[2], parts[3] if with_body else b"", fields[6])

    def mark_used(self, position: int) -> None:
        """Give a record a second chance. Needs the lock."""
        self._memory[self._at(position) + _USED_AT] = 1

    def rewrite_head(self, position: int, head: bytes) -> bool:
        """Replace the head by one of the same length; returns False if its length differs. Needs the lock."""
        at = self._at(position)
        fields = _HEADER.unpack_from(self._memory, at)
        if len(head) != fields[10]:
            return False
        start = at + _HEADER.size + fields[8] + fields[9]
        self._memory[start : start + len(head)] = head
        return True

    def remove(self, target_hash: int, positions: set[int]) -> None:
        """Remove records of one target. Needs the lock."""
        memory = self._memory
        # From old to new, so that the places of links stay right.
        for position, link in reversed(self._chain(target_hash, None)):
            if position in positions:
                at = self._at(position)
                memory[at + _STATE_AT] = _DEAD
                memory[link : link + _WORD] = memory[at + _NEXT_AT : at + _NEXT_AT + _WORD]
                self._count(-1, -self.size_of(position))

    def append(self, target_hash: int, key: bytes, variant: bytes, head: bytes, body: bytes, *, since: int) -> bool:
        """Append a record; returns False if it is too large. Needs the lock."""
        lengths = (len(key), len(variant), len(head), len(body))
        size = (_HEADER.size + sum(lengths) + _WORD - 1) // _WORD * _WORD
        if size > self._size // _RECORD_SHARE:
            return False
        header = _HEADER.pack(size, _LIVE, 0, 0, 0, target_hash, since, self._words[_EPOCH], *lengths)
        spared: list[bytes] = []
        self._write(target_hash, b"".join((header, key, variant, head)), body, size, spared)
        for record in spared:
            fields = _HEADER.unpack_from(record)
            self._write(fields[5], record, b"", len(record), None)
        return True

    def _write(self, target_hash: int, start: bytes, body: bytes, size: int, spared: list[bytes] | None) -> None:
        words, memory = self._words, self._memory
        offset = words[_HEAD] % self._size
        padding = self._size - offset if offset + size > self._size else 0
        self._free(padding + size, spared)
        if padding:
            _SIZE_AND_STATE.pack_into(memory, _DATA_AT + offset, padding, _FILLER)
            words[_HEAD] += padding
        position = words[_HEAD]
        at, bucket = self._at(position), _BUCKETS + target_hash % SLOTS
        memory[at : at + len(start)] = start
        if body:
            memory[at + len(start) : at + len(start) + len(body)] = body
        _NEXT.pack_into(memory, at + _NEXT_AT, words[bucket])
        words[_HEAD] = position + size
        words[bucket] = position
        self._count(1, size)

    def _free(self, needed: int, spared: list[bytes] | None) -> None:
        """Evict the oldest records; those that were used are copied to `spared`, up to a bound."""
        words, memory = self._words, self._memory
        spared_bytes = 0
        while words[_HEAD] + needed - words[_TAIL] > self._size:
            at = self._at(words[_TAIL])
            size, state = _SIZE_AND_STATE.unpack_from(memory, at)
            if state == _LIVE:
                self._count(-1, -size)
                fields = _HEADER.unpack_from(memory, at)
                is_spared = spared is not None and fields[2] and fields[7] == words[_EPOCH]
                if spared is not None and is_spared and spared_bytes + size <= self._size // _SPARED_SHARE:
                    memory[at + _USED_AT] = 0
                    spared.append(memory[at : at + size])
                    spared_bytes += size
                else:
                    # Copies go with their record, so that a purge of the records reaches every copy.
                    self.outdate(fields[5] % SLOTS)
                    words[_EVICTIONS] += 1
            words[_TAIL] += size

    def _count(self, records: int, size: int) -> None:
        words = self._words
        words[_RECORDS] = max(0, words[_RECORDS] + records)
        words[_BYTES] = max(0, words[_BYTES] + size)

    def scan(self, position: int, count: int) -> tuple[list[tuple[int, Record]], int]:
        """Up to `count` live records from a position on, with the hashes of their targets and without their bodies.

        Returns them with the position after them, 0 at the end. Needs the lock.
        """
        words = self._words
        position = max(position, words[_TAIL])
        found: list[tuple[int, Record]] = []
        while position < words[_HEAD] and count > 0:
            size, state = _SIZE_AND_STATE.unpack_from(self._memory, self._at(position))
            if state == _LIVE:
                target_hash = _HEADER.unpack_from(self._memory, self._at(position))[5]
                found.append((target_hash, self.read(position, with_body=False)))
            position += size
            count -= 1
        return found, position if position < words[_HEAD] else 0

    # Purges

    @property
    def purge_position(self) -> int:
        """The number of purges so far. Needs no lock."""
        return self._words[_PURGED]

    def add_purge(self, encoded: bytes) -> int:
        """Remember a purge for fetches in progress; returns its position. Needs the lock."""
        position = self._words[_PURGED] + 1
        at = _PURGES_AT + position % _PURGES * _PURGE_BYTES
        _PURGE_HEADER.pack_into(self._memory, at, len(encoded))
        start = at + _PURGE_HEADER.size
        self._memory[start : start + len(encoded)] = encoded
        self._words[_PURGED] = position
        return position

    def purges_since(self, position: int) -> list[bytes] | None:
        """The purges after a position; None if they are not remembered any more. Needs the lock."""
        latest = self._words[_PURGED]
        if latest - position > _PURGES:
            return None
        found: list[bytes] = []
        for number in range(position + 1, latest + 1):
            at = _PURGES_AT + number % _PURGES * _PURGE_BYTES
            start = at + _PURGE_HEADER.size
            found.append(self._memory[start : start + _PURGE_HEADER.unpack_from(self._memory, at)[0]])
        return found

    # Claims

    def claim(self, key_hash: int, seconds: float) -> int:
        """Claim a fetch: 0 if another process has claimed it, else a token for `release`, -1 if no claim was possible."""
        index = _CLAIM_TABLE + key_hash % _CLAIMS
        tag = (key_hash >> 20) % (1 << _CLAIM_TAG_BITS)
        now = int(time.monotonic() / _CLAIM_TICK_S)
        try:
            with self.lock():
                word = self._words[index]
                if word and (word >> 10) % (1 << 32) > now:
                    return 0 if word >> 42 == tag and word % (1 << 10) != self._process % (1 << 10) else -1
                expiry = now + int(seconds / _CLAIM_TICK_S)
                token = self._words[index] = tag << 42 | expiry << 10 | self._process % (1 << 10)
                return token
        except LockUnavailable:
            return -1

    def is_claimed(self, key_hash: int) -> bool:
        """Whether the claim of this key is still there. Needs no lock."""
        word = self._words[_CLAIM_TABLE + key_hash % _CLAIMS]
        if word >> 42 != (key_hash >> 20) % (1 << _CLAIM_TAG_BITS):
            return False
        return (word >> 10) % (1 << 32) > int(time.monotonic() / _CLAIM_TICK_S)

    def shorten(self, key_hash: int, token: int, seconds: float) -> int:
        """Let a claim expire earlier; returns its new token. Needs no lock."""
        index = _CLAIM_TABLE + key_hash % _CLAIMS
        expiry = int((time.monotonic() + seconds) / _CLAIM_TICK_S)
        if self._words[index] != token or expiry >= (token >> 10) % (1 << 32):
            return token
        shorter = self._words[index] = (token >> 42) << 42 | expiry << 10 | token % (1 << 10)
        return shorter

    def release(self, key_hash: int, token: int) -> None:
        """Give up a claim. Needs no lock."""
        index = _CLAIM_TABLE + key_hash % _CLAIMS
        if self._words[index] == token:
            self._words[index] = 0

    # Counts

    @property
    def records(self) -> int:
        """Live records."""
        return self._words[_RECORDS]

    @property
    def bytes(self) -> int:
        """Bytes of live records."""
        return self._words[_BYTES]

    @property
    def max_bytes(self) -> int:
        """The size of the ring."""
        return self._size

    @property
    def evictions(self) -> int:
        """Records evicted so far."""
        return self._words[_EVICTIONS]


MAX_PURGE_BYTES: Final = _PURGE_BYTES - _PURGE_HEADER.size


def hash_of(text: str) -> int:
    """The hash of a target or key: the same in all processes of a host, because they are forks of one."""
    return hash(text) & _HASH_MASK

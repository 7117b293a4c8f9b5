"""Purges: what they cover, which came after what, and the log in the store by which all workers learn of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from store import Store

# Purges remembered, in a process and in the store. What was fetched before the oldest of them is not trusted any more.
PURGES_MOST: Final = 10_000
_KEY: Final = "peakgate:cache:purges"
_READ_AT_A_TIME: Final = 1_000


class Purge(Struct, frozen=True):
    """What is to be forgotten: the answers of an address, of all below a prefix, or with a tag. `soft` only makes them stale.

    `value` is a path with its query, or a tag. `host` limits it to one; empty is any.
    """

    kind: Literal["url", "prefix", "tag"]
    value: str
    host: str = ""
    soft: bool = False


def purge_of(*, url: str | None = None, prefix: str | None = None, tag: str | None = None, soft: bool = False) -> Purge:
    """The purge of one of these; addresses with or without scheme and host. Raises `ValueError`."""
    named = [value for value in (url, prefix, tag) if value is not None]
    if len(named) != 1 or not named[0].strip():
        raise ValueError("name one of url, prefix and tag")
    if tag is not None:
        return Purge("tag", tag.strip(), soft=soft)
    address = named[0].strip()
    host, target = "", address
    if address[:1] != "/":
        parts = urlsplit(address)
        host = parts.netloc.lower()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not host:
            raise ValueError("an address begins with a slash, or with http:// or https://")
    return Purge("url" if url is not None else "prefix", target.partition("#")[0], host, soft)


class Verdict(IntEnum):
    """What the purges since then say of something."""

    UNTOUCHED = 0
    STALE = 1
    VOID = 2


class Purges:
    """What was purged at which position: positions only rise, and an answer is void when a purge of it came after its own."""

    def __init__(self, most: int = PURGES_MOST) -> None:
        self._most = most
        # Oldest first. A prefix is looked for among all prefixes, of which there are few.
        self._exact: OrderedDict[Purge, int] = OrderedDict()
        self._prefixes: OrderedDict[Purge, int] = OrderedDict()
        self.floor = 0
        self._latest = 0

    def note(self, purge: Purge, position: int) -> None:
        """Remember a purge. What falls out of memory for it raises the floor below which nothing is trusted."""
        self._latest = max(self._latest, position)
        kept = self._prefixes if purge.kind == "prefix" else self._exact
        kept[purge] = max(position, kept.pop(purge, 0))
        if len(kept) > self._most:
            self.floor = max(self.floor, kept.popitem(last=False)[1])

    def verdict(self, key: str, tags: Iterable[str], since: int) -> Verdict:
        """What they say of an answer with that key and those tags that was asked for at position `since`."""
        if since >= self._latest:
            return Verdict.UNTOUCHED
        if since < self.floor:
            return Verdict.VOID
        for soft, verdict in ((False, Verdict.VOID), (True, Verdict.STALE)):
            if any(self._exact.get(purge, -1) > since for purge in _exact_purges(key, tags, soft=soft)):
                return verdict
            if any(
                purge.soft is soft and at > since and covers(purge, key, ()) for purge, at in self._prefixes.items()
            ):
                return verdict
        return Verdict.UNTOUCHED


def split(key: str) -> tuple[str, str]:
    """Target and host of a key: `<path>[?query]`, then each value that addresses are told apart by, the host first."""
    target, _, rest = key.partition("\n")
    return target, rest.partition("\n")[0]


def _exact_purges(key: str, tags: Iterable[str], *, soft: bool) -> list[Purge]:
    target, host = split(key)
    named = [Purge("url", target, "", soft), Purge("url", target, host, soft)]
    return named + [Purge("tag", tag, "", soft) for tag in tags]


def covers(purge: Purge, key: str, tags: Iterable[str]) -> bool:
    """Whether a purge is about an answer."""
    if purge.kind == "tag":
        return purge.value in tags
    target, host = split(key)
    if purge.host not in {"", host}:
        return False
    return target == purge.value if purge.kind == "url" else target.startswith(purge.value)


class PurgeLog:
    """The purges of all workers, in one stream of the store. Its ids are positions: the server's order, no clock of ours.

    Raises `StoreError` when awaited.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # How far this process has read; 0 before the first time.
        self.position = 0
        self.floor = 0

    async def publish(self, purge: Purge) -> int:
        """Append a purge; its position."""
        entry = await self._store.execute(*("XADD", _KEY, "MAXLEN", "~", PURGES_MOST, "*", "purge", _encoded(purge)))
        return _position(entry)

    async def read(self) -> Sequence[tuple[int, Purge]]:
        """The purges that are new since the last reading, in their order."""
        found: list[tuple[int, Purge]] = []
        position = self.position
        while True:
            start = f"({position >> _SEQUENCE_BITS}-{position & ((1 << _SEQUENCE_BITS) - 1)}" if position else "-"
            entries: Any = await self._store.execute("XRANGE", _KEY, start, "+", "COUNT", _READ_AT_A_TIME)
            found += [(_position(entry_id), _decoded(fields[1])) for entry_id, fields in entries]
            if found:
                position = found[-1][0]
            if len(entries) < _READ_AT_A_TIME:
                break
        if self.position == 0 and len(found) >= PURGES_MOST:
            # Older ones may have been trimmed off.
            self.floor = found[0][0]
        self.position = position
        return found


# A million purges in a millisecond, and 64 bits in all until the year 2248: positions are kept beside answers.
_SEQUENCE_BITS: Final = 20
_DECODER: Final = msgspec.json.Decoder(Purge)
_EVERYTHING: Final = Purge("prefix", "/")


def _encoded(purge: Purge) -> bytes:
    try:
        return msgspec.json.encode(purge)
    except UnicodeEncodeError:
        # Bytes that are no text, in the address of a request that changed something: what lies beside it goes too.
        leading = next(i for i, each in enumerate(purge.value) if not each.isascii())
        return msgspec.json.encode(Purge("prefix", purge.value[:leading]))


def _decoded(encoded: bytes) -> Purge:
    try:
        return _DECODER.decode(encoded)
    except msgspec.MsgspecError:
        return _EVERYTHING  # of a version that says it otherwise: too much rather than too little


def _position(entry_id: bytes | str) -> int:
    """A stream id, `<ms>-<sequence>`, as one number."""
    moment, _, sequence = (entry_id.decode() if isinstance(entry_id, bytes) else entry_id).partition("-")
    return int(moment) << _SEQUENCE_BITS | int(sequence)

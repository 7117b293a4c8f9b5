"""The log of purges in the store, from which all workers read the purges of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.cache.purge import Purge
from gateway.cache.purge_history import MAX_PURGES
from store import Store

_KEY: Final = "peakgate:cache:purges"
_PAGE: Final = 1_000
# A million purges in a millisecond, and 64 bits in all until the year 2248: positions are stored beside responses.
_SEQUENCE_BITS: Final = 20
_DECODER: Final = msgspec.json.Decoder(Purge)
_EVERYTHING: Final = Purge("prefix", "/")


class PurgeLog:
    """One stream in the store. Its ids are the positions of purges: the order of the server, no clock of a worker.

    Raises `StoreError` when awaited.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # How far this process has read; 0 before the first time.
        self.position = 0
        # Purges before this position may be missing.
        self.floor = 0

    async def publish(self, purge: Purge, host_id: str = "") -> int:
        """Append a purge and return its position; `host_id` is of the host where it is in force already."""
        fields = ("purge", _encode(purge), "host", host_id)
        entry = await self._store.execute("XADD", _KEY, "MAXLEN", "~", MAX_PURGES, "*", *fields)
        return _position(entry)

    async def read(self) -> Sequence[tuple[int, Purge, str]]:
        """The purges since the last reading, in their order, with the ids of their hosts."""
        purges: list[tuple[int, Purge, str]] = []
        position = self.position
        while True:
            start = f"({position >> _SEQUENCE_BITS}-{position & ((1 << _SEQUENCE_BITS) - 1)}" if position else "-"
            entries: Any = await self._store.execute("XRANGE", _KEY, start, "+", "COUNT", _PAGE)
            purges += [(_position(entry_id), _decode(fields[1]), _host_of(fields)) for entry_id, fields in entries]
            if purges:
                position = purges[-1][0]
            if len(entries) < _PAGE:
                break
        if self.position == 0 and len(purges) >= MAX_PURGES:
            # The stream may have been trimmed.
            self.floor = purges[0][0]
        self.position = position
        return purges


def _encode(purge: Purge) -> bytes:
    try:
        return msgspec.json.encode(purge)
    except UnicodeEncodeError:
        # The address of an unsafe request has bytes that are not text: the longest prefix without them is purged.
        leading = next(i for i, char in enumerate(purge.value) if not char.isascii())
        return msgspec.json.encode(Purge("prefix", purge.value[:leading]))


def _host_of(fields: Sequence[bytes]) -> str:
    """The id of the host that published a purge; versions before it was known have none."""
    return fields[3].decode("ascii", "replace") if len(fields) > 3 else ""


def _decode(encoded: bytes) -> Purge:
    try:
        return _DECODER.decode(encoded)
    except msgspec.MsgspecError:
        return _EVERYTHING  # a purge of another version: too much is purged rather than too little


def _position(entry_id: bytes | str) -> int:
    """A stream id, `<ms>-<sequence>`, as one number."""
    moment, _, sequence = (entry_id.decode() if isinstance(entry_id, bytes) else entry_id).partition("-")
    return int(moment) << _SEQUENCE_BITS | int(sequence)

"""Which keys seal personal data in a store, so that a gateway without one of them does not start.

privacy:keys   hash: `index` a check value of the index key; the name of each wrapping key in use → since when (ms)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from store import Store

KEY: Final = "privacy:keys"
_INDEX: Final = "index"


class KeysInUse(msgspec.Struct, frozen=True):
    """The check value of the index key, None while there is none, and the names of the wrapping keys."""

    index: str | None
    names: Collection[str]


class RedisKeyRegistry:
    """The keys in use of one store. All calls raise the errors of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self) -> KeysInUse:
        """The keys in use."""
        fields = {name.decode(): value.decode() for name, value in (await self._store.execute("HGETALL", KEY)).items()}
        return KeysInUse(fields.pop(_INDEX, None), sorted(fields))

    async def enter(self, index: str, name: str, *, at: int) -> KeysInUse:
        """Enter these keys unless they are there; returns the keys in use now.

        The check value of another index key is not replaced. Only a missing entry is written: a full store serves gateways
        that start.
        """
        found = await self.read()
        if found.index is not None and name in found.names:
            return found
        if found.index is None:
            await self._store.execute("HSETNX", KEY, _INDEX, index)
        await self._store.execute("HSETNX", KEY, name, at)
        return await self.read()

    async def remove(self, name: str) -> None:
        """Nothing is sealed with this key any more."""
        await self._store.execute("HDEL", KEY, name)

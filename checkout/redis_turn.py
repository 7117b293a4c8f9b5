"""Whose turn it is to do what one process of many must do: look through all partitions."""

from __future__ import annotations

import secrets

from store import Store


class RedisTurn:
    """A turn that one process has until it has not taken it for `turn_ms`; the others find it taken."""

    def __init__(self, store: Store, key: str, *, turn_ms: int) -> None:
        self._store = store
        self._key = key
        self._turn_ms = turn_ms
        self._token = secrets.token_hex(8)

    async def take(self) -> bool:
        """Take the turn or keep it; False while another process has it."""
        holder = await self._store.execute("SET", self._key, self._token, "NX", "GET", "PX", self._turn_ms)
        if holder is None:
            return True
        if holder != self._token.encode():
            return False
        await self._store.execute("PEXPIRE", self._key, self._turn_ms)
        return True

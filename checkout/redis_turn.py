"""A lease: one of many processes has it, and sweeps all partitions."""

from __future__ import annotations

import secrets

from store import Store


class RedisTurn:
    """A lease that its holder extends with each `take`, and that passes on when it has not for `turn_ms`."""

    def __init__(self, store: Store, key: str, *, turn_ms: int) -> None:
        self._store = store
        self._key = key
        self._turn_ms = turn_ms
        self._token = secrets.token_hex(8)

    async def take(self) -> bool:
        """Take or extend the lease; False while another process has it."""
        holder = await self._store.execute("SET", self._key, self._token, "NX", "GET", "PX", self._turn_ms)
        if holder is None:
            return True
        if holder != self._token.encode():
            return False
        await self._store.execute("PEXPIRE", self._key, self._turn_ms)
        return True

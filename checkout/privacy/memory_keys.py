"""Wrapping keys in memory, for tests."""

from __future__ import annotations

import os

from checkout.ports.keys import DataKey, KeysRefused, KeysUnavailable, wrapping_key_of


class MemoryKeys:
    """`WrappingKeys` in a dict. `is_away` makes every call fail, `calls` counts them."""

    def __init__(self) -> None:
        self.is_away = False
        self.calls = 0
        self._current = 1
        self._secrets: dict[str, bytes] = {}

    @property
    def current(self) -> str:
        """See `WrappingKeys.current`."""
        return f"memory.{self._current}"

    def rotate(self) -> None:
        """Another key wraps new data keys."""
        self._current += 1

    def lose(self, name: str) -> None:
        """Forget all data keys that were wrapped by this key."""
        self._secrets = {key: secret for key, secret in self._secrets.items() if wrapping_key_of(key) != name}

    async def new_data_key(self) -> DataKey:
        """See `WrappingKeys.new_data_key`."""
        self._call()
        key = DataKey(os.urandom(32), f"{self.current}.{len(self._secrets)}")
        self._secrets[key.wrapped] = key.secret
        return key

    async def unwrap(self, wrapped: str) -> bytes:
        """See `WrappingKeys.unwrap`."""
        self._call()
        secret = self._secrets.get(wrapped)
        if secret is None:
            raise KeysRefused(f"there is no key {wrapping_key_of(wrapped)}")
        return secret

    def _call(self) -> None:
        self.calls += 1
        if self.is_away:
            raise KeysUnavailable("the keys are away")

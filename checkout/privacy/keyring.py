"""Wrapping keys of several kinds: one kind wraps new data keys, and all unwrap their own."""

from __future__ import annotations

from collections.abc import Mapping

from checkout.ports.keys import DataKey, KeysUnavailable, WrappingKeys, wrapping_key_of


class Keyring:
    """`WrappingKeys` of several kinds, by the kind that begins the names of their keys; `first` wraps new data keys."""

    def __init__(self, by_kind: Mapping[str, WrappingKeys], *, first: str) -> None:
        self._by_kind = by_kind
        self._first = by_kind[first]

    @property
    def current(self) -> str:
        """See `WrappingKeys.current`."""
        return self._first.current

    async def new_data_key(self) -> DataKey:
        """See `WrappingKeys.new_data_key`."""
        return await self._first.new_data_key()

    async def unwrap(self, wrapped: str) -> bytes:
        """See `WrappingKeys.unwrap`."""
        keys = self._by_kind.get(wrapped.partition(".")[0])
        if keys is None:
            raise KeysUnavailable(f"personal data is sealed with {wrapping_key_of(wrapped)}, which is not configured")
        return await keys.unwrap(wrapped)

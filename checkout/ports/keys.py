"""The keys of personal data: data keys, which seal it, and the wrapping keys that make them readable."""

from __future__ import annotations

from typing import Protocol

import msgspec

from cart.model import OrderId


class DataKey(msgspec.Struct, frozen=True):
    """A key that seals the personal data of some orders.

    `secret` has 256 bits and is never stored. `wrapped` is stored beside all that it seals: `<kind>.<name>.<rest>`, of which
    the first two name the wrapping key.
    """

    secret: bytes
    wrapped: str

    def __repr__(self) -> str:  # without the secret, for logs
        return f"DataKey(wrapped by {wrapping_key_of(self.wrapped)})"


def wrapping_key_of(wrapped: str) -> str:
    """The name of the key that wraps a data key: `file.20261127-3f2a`, `kms.1f0c88aa`."""
    return ".".join(wrapped.split(".", 2)[:2])


class Sealed(msgspec.Struct, frozen=True):
    """Encrypted data: `key` is the wrapped data key, `data` the nonce (96 bits), the text in AES-256-GCM and its tag."""

    key: str
    data: bytes


class KeysUnavailable(Exception):
    """A wrapping key cannot be used now: its service is away, refuses, or its file has no such key. The text says which."""

    # So that it counts as an outage (`primitives.outages`): nothing was changed, and the call may be repeated.
    may_have_run = False


class KeysRefused(KeysUnavailable):
    """It will not become usable by itself: there is no such key, or no permission to use it."""


class SealBroken(Exception):
    """Sealed data was changed, or belongs to another order: it cannot be opened with its key."""


class WrappingKeys(Protocol):
    """The keys that wrap data keys. All calls raise `KeysUnavailable`."""

    @property
    def current(self) -> str:
        """The name of the key that wraps new data keys; it may change while the process runs."""
        ...

    async def new_data_key(self) -> DataKey:
        """A new data key, wrapped by the current key."""
        ...

    async def unwrap(self, wrapped: str) -> bytes:
        """The secret of a data key that was wrapped by any of these keys."""
        ...


class Sealing(Protocol):
    """Seals and opens data of orders. Both raise `KeysUnavailable`."""

    async def seal(self, order_id: OrderId, text: bytes) -> Sealed:
        """Encrypt `text`, bound to the order."""
        ...

    async def open(self, order_id: OrderId, sealed: Sealed) -> bytes:
        """The text that was sealed for this order. Raises `SealBroken`."""
        ...

"""Seals the personal data of orders with AES-256-GCM, under data keys that are used for a time and then replaced.

One data key seals up to 2^20 orders with random nonces of 96 bits: two are the same with a probability below 2^-57, where
NIST SP 800-38D (8.3) allows 2^32 uses. Each process has its own data key, so the count is exact. The order id is
additional data: data sealed for one order cannot be opened as another's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cart.model import OrderId
from checkout.ports.keys import DataKey, KeysUnavailable, SealBroken, Sealed, WrappingKeys
from primitives.bounded_map import BoundedMap

MAX_ORDERS: Final = 2**20
# A key of a process that is read for an hour opens no order after it; and a key that was unwrapped is asked for again.
RENEW_S: Final = 3600.0
# Between attempts to replace a data key whose time is over, while the wrapping keys are away.
RETRY_S: Final = 30.0
# Unwrapped data keys in memory, of 0.4 KiB each.
MAX_CACHED: Final = 4096
NONCE_BYTES: Final = 12
# At a time: each draw is a system call.
NONCES_DRAWN: Final = 256

_log = logging.getLogger(__name__)


class _Current:
    """The data key that seals now."""

    __slots__ = ("cipher", "orders", "renew_at", "wrapped", "wrapped_by")

    def __init__(self, key: DataKey, wrapped_by: str, renew_at: float) -> None:
        self.cipher = AESGCM(key.secret)
        self.wrapped = key.wrapped
        self.wrapped_by = wrapped_by
        self.renew_at = renew_at
        self.orders = 0


class Sealer:
    """`Sealing` with data keys of `keys`.

    A data key is replaced after `renew_s`, in the background: while the wrapping keys are away it is used further, up to
    `max_orders` in all. It is replaced at once when another wrapping key has become the current one. Keys that were
    unwrapped are cached for `renew_s`.
    """

    def __init__(
        self,
        keys: WrappingKeys,
        *,
        max_orders: int = MAX_ORDERS,
        renew_s: float = RENEW_S,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keys = keys
        self._max_orders = max_orders
        self._renew_s = renew_s
        self._clock = clock
        self._random_bytes = random_bytes
        self._nonces = b""
        self._nonces_used = NONCES_DRAWN
        self._current: _Current | None = None
        self._renewal: asyncio.Task[_Current] | None = None
        # By the wrapped key: its cipher, and until when it is used.
        self._ciphers: BoundedMap[str, tuple[AESGCM, float]] = BoundedMap(MAX_CACHED)
        self._unwrapping: dict[str, asyncio.Task[AESGCM]] = {}

    async def seal(self, order_id: OrderId, text: bytes) -> Sealed:
        """See `Sealing.seal`."""
        current = self._current
        while current is None or current.orders >= self._max_orders or current.wrapped_by != self._keys.current:
            current = await asyncio.shield(self._renew())
        if self._clock() >= current.renew_at:
            current.renew_at = self._clock() + RETRY_S
            self._renew().add_done_callback(_log_failure)
        current.orders += 1
        nonce = self._next_nonce()
        return Sealed(current.wrapped, nonce + current.cipher.encrypt(nonce, text, _bound_to(order_id)))

    def _next_nonce(self) -> bytes:
        """Never the same: no process is forked once it seals."""
        if self._nonces_used == NONCES_DRAWN:
            self._nonces, self._nonces_used = self._random_bytes(NONCE_BYTES * NONCES_DRAWN), 0
        at = self._nonces_used * NONCE_BYTES
        self._nonces_used += 1
        return self._nonces[at : at + NONCE_BYTES]

    async def open(self, order_id: OrderId, sealed: Sealed) -> bytes:
        """See `Sealing.open`."""
        cached = self._ciphers.get(sealed.key)
        if cached is not None and self._clock() < cached[1]:
            cipher = cached[0]
        else:
            cipher = await asyncio.shield(self._unwrap(sealed.key))
        nonce, encrypted = sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, encrypted, _bound_to(order_id))
        except (InvalidTag, ValueError):
            raise SealBroken(f"the personal data of order {order_id} cannot be opened: it was changed") from None

    async def ready(self) -> None:
        """Make sure that there is a data key. Raises `KeysUnavailable`."""
        if self._current is None:
            await asyncio.shield(self._renew())

    def _renew(self) -> asyncio.Task[_Current]:
        """One call for all who wait for a new data key."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._new_current(), name="new data key")
        return self._renewal

    async def _new_current(self) -> _Current:
        wrapped_by = self._keys.current
        key = await self._keys.new_data_key()
        current = self._current = _Current(key, wrapped_by, self._clock() + self._renew_s)
        # Orders are read where they were sealed a moment ago.
        self._ciphers.put(key.wrapped, (current.cipher, self._clock() + self._renew_s))
        return current

    def _unwrap(self, wrapped: str) -> asyncio.Task[AESGCM]:
        """One call for all who wait for the same key."""
        task = self._unwrapping.get(wrapped)
        if task is None:
            task = self._unwrapping[wrapped] = asyncio.create_task(self._unwrapped(wrapped), name="unwrap a data key")
            task.add_done_callback(lambda _: self._unwrapping.pop(wrapped, None))
        return task

    async def _unwrapped(self, wrapped: str) -> AESGCM:
        cipher = AESGCM(await self._keys.unwrap(wrapped))
        self._ciphers.put(wrapped, (cipher, self._clock() + self._renew_s))
        return cipher


def _bound_to(order_id: OrderId) -> bytes:
    """The additional data; the prefix keeps other uses of the same key apart."""
    return b"order:" + order_id.encode()


def _log_failure(renewal: asyncio.Task[_Current]) -> None:
    error = None if renewal.cancelled() else renewal.exception()
    if isinstance(error, KeysUnavailable):
        _log.warning("the data key of personal data is used further, because there is no new one: %s", error)
    elif error is not None:
        _log.error("making a new data key failed", exc_info=error)

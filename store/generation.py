"""A mark in the store that tells whether its data are still those that were there before.

The mark is random and made where there is none: another one means other data. Each process also counts in a key of its
own, and knows the last count that the store acknowledged: a lower one means that the store has lost its last writes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from store.client import Store
from store.script import Script

MARK_KEY: Final = "{peakgate}:generation"
# The count of a process that has ended, or was cut off for longer, is forgotten.
COUNT_TTL_S: Final = 86_400.0

_ADVANCE: Final = Script.from_package("store", "scripts/advance_generation.lua")


class Loss(StrEnum):
    """How the store lost data."""

    EMPTIED = "emptied"
    WENT_BACK = "went-back"


class Generation:
    """The mark as this process knows it; `known` is the one of an earlier process, if any."""

    def __init__(self, store: Store, *, known: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._count_key = f"{MARK_KEY}:{secrets.token_hex(8)}"
        self._count = 0
        self._counted_at = clock()
        self.mark = known

    async def advance(self) -> Loss | None:
        """Count once, and compare; returns the loss that this call found. Raises `StoreError`."""
        args = (secrets.token_hex(16), round(COUNT_TTL_S * 1000))
        mark_bytes, count = await self._store.run(_ADVANCE, (MARK_KEY, self._count_key), args)
        mark, now = mark_bytes.decode(), self._clock()
        loss: Loss | None = None
        if self.mark is not None and mark != self.mark:
            loss = Loss.EMPTIED
        elif count <= self._count and now - self._counted_at < COUNT_TTL_S / 2:
            loss = Loss.WENT_BACK
        self.mark, self._count, self._counted_at = mark, count, now
        return loss

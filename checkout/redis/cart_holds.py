"""Holds of carts in Redis or Valkey: beside those of orders, in the hash of the SKU.

Keys: `{<sku>}x` sorted set: the names of the carts by the end of their hold (ms); `cart-holds` sorted set: the SKUs with such holds, by
the time of the last one (Unix ms).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cart.model import MAX_HOLD_AT_CART_S, CartId, Sku
from cart.ports import LineHold
from cart.sku_keys import cart_hold_name, cart_holds_key, hold_changes_key, holds_key, product_key
from cart.timestamps import unix_ms
from store import Script, Store

CART_HOLD: Final = Script.from_files(
    *(("checkout.redis", f"scripts/{name}.lua") for name in ("hold_changes", "cart_hold"))
)
FREE_CART_HOLDS: Final = Script.from_files(
    *(("checkout.redis", f"scripts/{name}.lua") for name in ("hold_changes", "free_cart_holds")), flags="allow-oom"
)
KEY: Final = "cart-holds"
# Twice the longest hold, which may be extended, and an hour for clocks that differ.
LISTED_MS: Final = (2 * MAX_HOLD_AT_CART_S + 3_600) * 1000
# Of one call.
MAX_FREED: Final = 100


class RedisCartHolds:
    """`CartHolds` and `ExpiredCartHolds` on a store; `now_ms` is the clock of the list of SKUs only."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = unix_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def set(self, cart_id: CartId, units: Mapping[Sku, int], *, merged: CartId | None = None) -> None:
        """See `CartHolds.set`."""
        other = "" if merged is None else cart_hold_name(merged)
        # Listed before it is held: a process that dies between both leaves no hold that nobody frees.
        if held := [sku for sku, quantity in units.items() if quantity]:
            now = self._now_ms()
            await self._store.execute("ZADD", KEY, *(part for sku in held for part in (now, sku)))
        name = cart_hold_name(cart_id)
        await asyncio.gather(
            *(self._store.run(CART_HOLD, _keys(sku), [name, quantity, other, ""]) for sku, quantity in units.items())
        )

    async def read(self, cart_id: CartId, skus: Sequence[Sku]) -> Mapping[Sku, LineHold]:
        """See `CartHolds.read`."""
        name = cart_hold_name(cart_id)
        (seconds, microseconds), *found = await asyncio.gather(
            self._store.execute("TIME"), *(self._store.execute("HGET", holds_key(sku), name) for sku in skus)
        )
        now = int(seconds) * 1000 + int(microseconds) // 1000
        holds = {sku: _hold_of(text) for sku, text in zip(skus, found, strict=True) if text is not None}
        return {sku: hold for sku, hold in holds.items() if hold.until > now}

    async def extend(self, cart_id: CartId, sku: Sku) -> bool:
        """See `CartHolds.extend`."""
        _, was_extended = await self._store.run(CART_HOLD, _keys(sku), [cart_hold_name(cart_id), "", "", "1"])
        return bool(was_extended)

    async def listed(self) -> Sequence[Sku]:
        """See `ExpiredCartHolds.listed`."""
        oldest = self._now_ms() - LISTED_MS
        outdated = await self._store.execute("ZRANGE", KEY, "-inf", oldest, "BYSCORE", "LIMIT", 0, MAX_FREED)
        if outdated:
            await self._store.execute("ZREM", KEY, *outdated)
        return [Sku(sku.decode()) for sku in await self._store.execute("ZRANGE", KEY, 0, -1)]

    async def free_expired(self, sku: Sku) -> bool:
        """See `ExpiredCartHolds.free_expired`."""
        return int(await self._store.run(FREE_CART_HOLDS, _keys(sku), [MAX_FREED])) == MAX_FREED


def _keys(sku: Sku) -> list[str]:
    return [product_key(sku), holds_key(sku), hold_changes_key(sku), cart_holds_key(sku)]


def _hold_of(text: bytes) -> LineHold:
    quantity, until, extended = text.split()
    return LineHold(int(quantity), int(until), extended != b"0")

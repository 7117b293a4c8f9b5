"""Stock in Redis or Valkey: one script call for each SKU, all SKUs of an order at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Sequence
from typing import Any, Final

from cart.model import OrderId, Sku
from checkout.errors import IdempotencyKeyInProgress, Shortage, StockNotHeld
from checkout.ports.stock import HOLD_MS, StockLine
from checkout.stored import holds_key, product_key
from store import Script, Store


def _script(name: str) -> Script:
    return Script.from_package("checkout", f"scripts/{name}.lua")


HOLD: Final = _script("hold")
CONFIRM: Final = _script("confirm")
RETURN_STOCK: Final = _script("return_stock")
COMPLETE: Final = _script("complete")


class RedisStock:
    """`Stock` on a store. SKUs are in different slots, so each hold of an order is a script call of its own."""

    def __init__(self, store: Store, *, hold_ms: int = HOLD_MS) -> None:
        self._store = store
        self._hold_ms = hold_ms

    async def hold(self, order_id: OrderId, lines: Sequence[StockLine], *, fence: int) -> list[Shortage]:
        """See `Stock.hold`."""
        replies = await _all(
            self._store.run(
                HOLD,
                [product_key(line.sku), holds_key(line.sku)],
                [order_id, line.quantity, fence, self._hold_ms],
            )
            for line in lines
        )
        if any(reply[0] == b"overtaken" for reply in replies):
            raise IdempotencyKeyInProgress
        return [
            Shortage(line.sku, line.quantity, reply[1])
            for line, reply in zip(lines, replies, strict=True)
            if reply[0] == b"short"
        ]

    async def release(self, order_id: OrderId, skus: Collection[Sku], *, fence: int) -> None:
        """See `Stock.release`."""
        await self._return(order_id, skus, "claimed", fence)

    async def confirm(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.confirm`."""
        replies = await _all(self._store.run(CONFIRM, [holds_key(sku)], [order_id]) for sku in skus)
        missing = [sku for sku, was_held in zip(skus, replies, strict=True) if not was_held]
        if missing:
            raise StockNotHeld(missing)

    async def cancel(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.cancel`."""
        await self._return(order_id, skus, "any")

    async def complete(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.complete`."""
        await _all(self._store.run(COMPLETE, [holds_key(sku)], [order_id]) for sku in skus)

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        """See `Stock.expire`."""
        return all(await self._return(order_id, skus, "expired"))

    def _return(self, order_id: OrderId, skus: Collection[Sku], which: str, *fence: int) -> Awaitable[list[Any]]:
        return _all(
            self._store.run(RETURN_STOCK, [product_key(sku), holds_key(sku)], [order_id, which, *fence]) for sku in skus
        )


async def _all(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """All replies. Raises the first failure after every call has ended, so that no call overlaps the next step."""
    replies = await asyncio.gather(*calls, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return replies
